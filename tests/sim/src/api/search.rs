//! Search by the simple grammar of conditions joined by `and` and `or` (fact sheet §3.3).

use std::cmp::Ordering;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{
    Answer, Call, item,
    listing::{self, Key, Order},
};
use crate::{answers::Refusal, clock::timestamp, nodes::Node};

/// `openFile/search`.
pub(super) fn search(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let kind = call.drive_kind(&inner)?;
    let limit = listing::limit(&call.body, 100, 100)?;
    let query = Query::parse(call.text("query"))?;
    let orders = orders(call.text("order_by"))?;
    let start = start(call.text("marker"))?;
    let lag_ms = u64::try_from(inner.settings.search_lag.as_millis()).unwrap_or(u64::MAX);
    let indexed_ms = call.drive.clock.now_ms().saturating_sub(lag_ms);
    let nodes = inner.nodes(kind);
    let mut found: Vec<&Node> =
        nodes.all().filter(|node| node.created_ms <= indexed_ms && query.admits(node)).collect();
    found.sort_by(|a, b| {
        let by = |order: &Order| order.compare(&Key::of(a), &Key::of(b));
        orders.iter().map(by).find(|by| by.is_ne()).unwrap_or(Ordering::Equal)
    });
    let end = start.saturating_add(limit).min(found.len());
    let page = found.get(start..end).unwrap_or_default();
    let wanted = item::Wanted::parse(call.text("fields"));
    let items: Vec<Value> =
        page.iter().map(|node| item::json_of(call.drive, nodes, kind, node, wanted)).collect();
    let next = if end < found.len() {
        BASE64URL_NOPAD.encode(json!(["search", end]).to_string().as_bytes())
    } else {
        String::new()
    };
    let mut answer = json!({"items": items, "next_marker": next});
    if call.body["return_total_count"].as_bool() == Some(true) {
        answer["total_count"] = json!(found.len());
    }
    Ok(answer)
}

/// `order_by`: `name ASC,size DESC`.
fn orders(text: &str) -> Result<Vec<Order>, Refusal> {
    text.split(',')
        .map(|order| {
            let mut words = order.split_whitespace();
            Order::parse(words.next().unwrap_or_default(), words.next().unwrap_or_default())
        })
        .collect()
}

fn start(marker: &str) -> Result<usize, Refusal> {
    if marker.is_empty() {
        return Ok(0);
    }
    let read = || {
        let value: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(marker.as_bytes()).ok()?).ok()?;
        if value[0] == "search" { usize::try_from(value[1].as_u64()?).ok() } else { None }
    };
    read().ok_or_else(|| {
        Refusal::new(400, "InvalidParameter.Marker", "The input parameter marker is not valid")
    })
}

/// Alternatives of conditions that must all hold: `and` binds tighter than `or`.
struct Query(Vec<Vec<Condition>>);

struct Condition {
    field: String,
    operator: String,
    values: Vec<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::new(400, "InvalidParameter.Query", "The input parameter query is not valid");
        let tokens = tokens(text).ok_or_else(bad)?;
        let mut rest = tokens.as_slice();
        let mut alternatives = vec![Vec::new()];
        let mut conditions = 0;
        loop {
            let (condition, later) = Condition::parse(rest).ok_or_else(bad)?;
            conditions += 1;
            if let Some(all) = alternatives.last_mut() {
                all.push(condition);
            }
            match later {
                [] => break,
                [Token::Word(word), later @ ..] if word == "and" => rest = later,
                [Token::Word(word), later @ ..] if word == "or" => {
                    alternatives.push(Vec::new());
                    rest = later;
                }
                _ => return Err(bad()),
            }
        }
        if conditions > 5 { Err(bad()) } else { Ok(Self(alternatives)) }
    }

    fn admits(&self, node: &Node) -> bool {
        self.0.iter().any(|all| all.iter().all(|condition| condition.holds(node)))
    }
}

impl Condition {
    fn parse(tokens: &[Token]) -> Option<(Self, &[Token])> {
        let [Token::Word(field), Token::Word(operator), rest @ ..] = tokens else { return None };
        let fields = [
            "category",
            "created_at",
            "description",
            "file_extension",
            "name",
            "parent_file_id",
            "starred",
            "type",
        ];
        let operators = ["<", "<=", "=", ">", ">=", "in", "match"];
        if !fields.contains(&field.as_str()) || !operators.contains(&operator.as_str()) {
            return None;
        }
        let (values, rest) = match rest {
            [Token::List(values), rest @ ..] if operator == "in" => (values.clone(), rest),
            [Token::Text(value) | Token::Word(value), rest @ ..] if operator != "in" => {
                (vec![value.clone()], rest)
            }
            _ => return None,
        };
        Some((Self { field: field.clone(), operator: operator.clone(), values }, rest))
    }

    fn holds(&self, node: &Node) -> bool {
        let actual = match self.field.as_str() {
            "category" if node.is_folder() => String::new(),
            "category" => item::category(&node.extension()).to_owned(),
            "created_at" => timestamp(node.created_ms),
            "file_extension" if node.is_folder() => String::new(),
            "file_extension" => node.extension(),
            "name" => node.name.clone(),
            "parent_file_id" => node.parent.clone().unwrap_or_default(),
            "starred" => "false".to_owned(),
            "type" if node.is_folder() => "folder".to_owned(),
            "type" => "file".to_owned(),
            _ => String::new(),
        };
        let value = self.values.first().map(String::as_str).unwrap_or_default();
        match self.operator.as_str() {
            "<" => actual.as_str() < value,
            "<=" => actual.as_str() <= value,
            "=" => actual == value,
            ">" => actual.as_str() > value,
            ">=" => actual.as_str() >= value,
            "in" => self.values.contains(&actual),
            _ => actual.to_lowercase().contains(&value.to_lowercase()),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    List(Vec<String>),
    Text(String),
    Word(String),
}

/// Words, strings in quotes, and lists in brackets.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = match first {
            '\'' | '"' => {
                let (value, after) = quoted(rest)?;
                tokens.push(Token::Text(value));
                after
            }
            '[' | '(' => {
                let close = if first == '[' { ']' } else { ')' };
                let (inside, after) = rest[1..].split_once(close)?;
                let values = inside.split(',').map(|value| value.trim().trim_matches(['\'', '"']).to_owned());
                tokens.push(Token::List(values.collect()));
                after
            }
            '<' | '=' | '>' => {
                let len = rest.bytes().take_while(|byte| b"<=>".contains(byte)).count();
                tokens.push(Token::Word(rest[..len].to_owned()));
                &rest[len..]
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "<=>'\"[(".contains(c);
                let len = rest.find(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..len].to_owned()));
                &rest[len..]
            }
        };
        rest = after.trim_start();
    }
    Some(tokens)
}

/// A string in quotes, where a backslash takes the next character as it is.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut value = String::new();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.push(chars.next()?.1),
            char if char == quote => return Some((value, &text[at + char.len_utf8()..])),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_the_sheet_are_read() {
        let query = "parent_file_id = 'root' and name match 'S01' and category = 'video'";
        assert_eq!(Query::parse(query).unwrap().0[0].len(), 3);
        assert_eq!(Query::parse("type='file' or category in ['video', 'audio']").unwrap().0.len(), 2);
        assert_eq!(quoted(r"'it\'s' x"), Some(("it's".to_owned(), " x")));
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let six = ["name = 'x'"; 6].join(" and ");
        for query in ["", "name", "name = ", "name is 'x'", "colour = 'red'", "name = 'x' but", six.as_str()]
        {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
