//! What a call says: in its body as JSON, whatever that is said to be, or in its query. Lenient where AList is.

use http::{HeaderValue, header};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Refused;
use crate::error::{Error, ErrorKind};
use crate::http::{Request, Upload};
use crate::path::VirtualPath;

/// The fields of a call. Hostile: nothing in it is printed.
#[derive(Default)]
pub struct Form(Map<String, Value>);

// === impl Form ===

impl Form {
    /// Reads a body; none where it is no JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// The body, else the query.
    pub(super) async fn of(request: &Request) -> Result<Self, Refused> {
        let body = read(request).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::of_pairs(request.uri().query().unwrap_or_default().as_bytes()));
        }
        let is_said = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded");
        // What curl says of any body, JSON too.
        let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(is_said);
        Self::parse(&body).or_else(|| is_form.then(|| Self::of_pairs(&body))).ok_or(NO_OBJECT)
    }

    fn of_pairs(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text);
        Self(pairs.map(|(key, value)| (key.into_owned(), Value::String(value.into_owned()))).collect())
    }

    /// The body alone: what it holds must not stand in an address.
    pub(super) async fn posted(request: &Request) -> Result<Self, Refused> {
        Self::parse(&read(request).await?).ok_or(NO_OBJECT)
    }

    /// A text; empty where it is not said.
    pub(super) fn text(&self, key: &str) -> Result<&str, Refused> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Refused::Said(400, "a field that should be a text is none")),
        }
    }

    /// A number, from 0; 0 where it is not said, and for less.
    pub(super) fn number(&self, key: &str) -> Result<u64, Refused> {
        let number = match self.0.get(key) {
            None | Some(Value::Null) => Some(0),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) if text.is_empty() => Some(0),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let number = number.ok_or(Refused::Said(400, "a field that should be a number is none"))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// Whether something is said to be true.
    pub(super) fn flag(&self, key: &str) -> bool {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "1" | "true"),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Form(…)")
    }
}

async fn read(request: &Request) -> Result<Vec<u8>, Refused> {
    match request.extensions().get::<Upload>() {
        Some(upload) => Ok(upload.read().await?),
        None => Ok(Vec::new()),
    }
}

const NO_OBJECT: Refused = Refused::Said(400, "the body must be a JSON object");

/// A path as calls write it, below the root of the visitor's tree: not encoded, with or without slashes around it.
pub(super) fn path_below(text: &str, root: &VirtualPath) -> Result<VirtualPath, Refused> {
    if text.split('/').any(|name| name == "..") {
        return Err(Refused::Said(403, "permission denied"));
    }
    if text.split('/').any(|name| name == ".") {
        let kept: Vec<_> = text.split('/').filter(|name| *name != ".").collect();
        return path_below(&kept.join("/"), root);
    }
    let path = VirtualPath::parse(text)?;
    path.below(root).map_err(|_| Error::new(ErrorKind::Invalid, "read a path").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_as_alists_clients_write_them() {
        let form = Form::parse(br#"{"path":"/a","page":2,"per_page":"50","refresh":true,"x":null,"neg":-1}"#);
        let form = form.unwrap();
        assert_eq!(form.text("path").unwrap(), "/a");
        assert_eq!((form.number("page").unwrap(), form.number("per_page").unwrap()), (2, 50));
        assert_eq!((form.number("neg").unwrap(), form.number("none").unwrap()), (0, 0));
        assert!(form.flag("refresh") && !form.flag("none"));
        assert_eq!((form.text("x").unwrap(), form.text("none").unwrap()), ("", ""));
        assert!(form.text("page").is_err() && form.number("path").is_err());
        assert!(Form::parse(b"[]").is_none() && Form::parse(b"{").is_none());
    }

    #[test]
    fn a_path_is_below_the_visitors_root_and_leads_nowhere_else() {
        let root = VirtualPath::parse("/anna").unwrap();
        let below = |text: &str| path_below(text, &root).ok().map(|path| path.to_string());
        for (text, path) in [("", "/anna"), ("/", "/anna"), ("a//b/", "/anna/a/b"), ("/./a/.", "/anna/a")] {
            assert_eq!(below(text).as_deref(), Some(path), "{text}");
        }
        for text in ["..", "/a/../b", "/../x", "a\0b"] {
            assert_eq!(below(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_path_says_it_stays_below_the_root(text in "[a./\\\\%\0 ]{0,30}") {
            let root = VirtualPath::parse("/anna").unwrap();
            if let Ok(path) = path_below(&text, &root) {
                prop_assert!(path.is_below(&root));
            }
        }
    }
}
