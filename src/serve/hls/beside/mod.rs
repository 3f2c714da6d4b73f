//! Which files beside a film are its subtitles, and what their names say of them, read as media servers read them:
//! `Film.zh-CN.srt`, `Film.eng.sdh.ass`, `Film.简英.Director's Cut.srt`. Pure.

mod language;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use self::language::{Language, NO_LANGUAGE};
use super::captions::Format;
use crate::serve::media_type::{self, Kind};

pub use self::language::name_of;

/// A subtitle file beside a film.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beside {
    /// The file's name.
    pub file: String,
    /// How it is written, by its extension.
    pub format: Format,
    /// What it stands under in our addresses: `[a-z0-9-]{1,16}`, as no other track of the film.
    pub tag: String,
    /// How it is called in a player's menu, as no other track of the film; without quotes and control characters.
    pub name: String,
    /// BCP 47; of several the first, `und` where the name tells none.
    pub language: &'static str,
    /// Whether it is only for what is said in other languages than the film's.
    pub is_forced: bool,
    /// Whether it is to be shown where nothing was chosen.
    pub is_default: bool,
    /// Whether it is for those who do not hear, and says what can be heard.
    pub is_for_impaired: bool,
}

/// The subtitles of `film` among the names of its folder, in order of name. `taken` are the tags of tracks that the film has
/// from elsewhere.
///
/// A file is the film's if its name begins with the film's without extension, in capitals or not, and goes on with a dot, or
/// with a space, a hyphen, an underscore or a bracket and a language. It is not if the folder has a film that it fits better.
pub fn tracks<'a, 'b>(
    film: &str,
    names: impl IntoIterator<Item = &'a str>,
    taken: impl IntoIterator<Item = &'b str>,
) -> Vec<Beside> {
    let names: Vec<_> = names.into_iter().collect();
    let film = Film::new(film, &names);
    let mut files: Vec<_> =
        names.into_iter().filter_map(|name| Some((name, Format::of(name)?, film.claim(name)?))).collect();
    files.sort_unstable_by_key(|(name, ..)| *name);
    files.dedup_by_key(|(name, ..)| *name);
    files.truncate(MOST);
    let (mut tags, mut menu) = (Unique::new("-"), Unique::new(" "));
    for tag in taken {
        tags.take(tag);
        menu.take(name_of(tag).unwrap_or(tag));
    }
    let track = |(name, format, words): (&str, Format, Words<'_>)| {
        let language = words.languages.first().map_or(NO_LANGUAGE, |language| language.tag);
        Beside {
            file: name.to_owned(),
            format,
            tag: tags.take(&language.to_ascii_lowercase()),
            name: menu.take(&words.name()),
            language,
            is_forced: words.is_forced,
            is_default: words.is_default,
            is_for_impaired: words.is_for_impaired,
        }
    };
    files.into_iter().map(track).collect()
}

/// A film among the other files of its folder.
struct Film<'a> {
    stem: &'a str,
    extension: &'a str,
    /// Of the folder's other films whose names begin alike: the longer ones, in lower case.
    longer: HashSet<String>,
    /// Of the folder's other films: those whose names differ only in capitals.
    twins: HashSet<&'a str>,
}

/// What a name says behind that of the film.
#[derive(Debug, Default, Eq, PartialEq)]
struct Words<'a> {
    /// In order; more than one where both are shown at once.
    languages: Vec<&'static Language>,
    is_forced: bool,
    is_default: bool,
    is_for_impaired: bool,
    /// All else, in order.
    notes: Vec<&'a str>,
}

/// What a word, or a part of one, says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word<'a> {
    Default,
    Forced,
    /// `hi`: hearing impaired, or Hindi where there is no other language.
    HindiOrImpaired,
    Impaired,
    Language(&'static Language),
    Note(&'a str),
}

/// Names of which each is given once.
struct Unique {
    separator: &'static str,
    given: HashSet<String>,
    /// The number last given with a name.
    last: HashMap<String, u32>,
}

// === impl Film ===

impl<'a> Film<'a> {
    fn new(name: &'a str, names: &[&'a str]) -> Self {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let (mut longer, mut twins) = (HashSet::new(), HashSet::new());
        for name in names.iter().filter(|name| media_type::kind_of(name) == Kind::Video) {
            let other = name.rsplit_once('.').map_or(*name, |(stem, _)| stem);
            match behind(other, stem) {
                Some("") if other != stem => drop(twins.insert(other)),
                None | Some("") => {}
                Some(_) => drop(longer.insert(other.to_ascii_lowercase())),
            }
        }
        Self { stem, extension, longer, twins }
    }

    /// What the name of a subtitle file says, if it is the film's.
    fn claim<'b>(&self, name: &'b str) -> Option<Words<'b>> {
        let (body, _) = name.rsplit_once('.')?;
        let rest = behind(body, self.stem)?;
        let begin = body.len() - rest.len();
        let is_a_twins = body[..begin] != *self.stem && self.twins.contains(&body[..begin]);
        if is_a_twins || self.is_a_longer_ones(body, begin) {
            return None;
        }
        let mut parts = rest.split(is_bracket_or_dot).map(trimmed).filter(|part| !part.is_empty()).peekable();
        if !rest.is_empty() && !rest.starts_with('.') {
            // `Film 2.srt` is another film's, `Film zh.srt` is not.
            let is_separated = rest.starts_with(|c: char| is_bracket_or_dot(c) || SEPARATORS.contains(&c));
            let begins_with_a_language = |part: &&str| {
                !language::AMBIGUOUS.iter().any(|word| part.eq_ignore_ascii_case(word))
                    && read(part).is_some_and(|words| matches!(words[..], [Word::Language(_), ..]))
            };
            if !is_separated || !parts.peek().is_some_and(begins_with_a_language) {
                return None;
            }
        }
        // `Film.mkv.srt`
        let is_extension = |part: &&str| part.eq_ignore_ascii_case(self.extension);
        Some(Words::new(parts.skip_while(is_extension).collect()))
    }

    fn is_a_longer_ones(&self, body: &str, begin: usize) -> bool {
        if self.longer.is_empty() {
            return false;
        }
        let body = body.to_ascii_lowercase();
        let ends = body[begin..].match_indices(|c: char| is_bracket_or_dot(c) || SEPARATORS.contains(&c));
        let mut ends = ends.map(|(at, _)| begin + at).chain([body.len()]);
        ends.any(|end| self.longer.contains(&body[..end]))
    }
}

/// What is behind a beginning, in capitals or not.
fn behind<'a>(name: &'a str, beginning: &str) -> Option<&'a str> {
    let (begin, rest) = name.split_at_checked(beginning.len())?;
    begin.eq_ignore_ascii_case(beginning).then_some(rest)
}

fn is_bracket_or_dot(c: char) -> bool {
    matches!(c, '.' | '[' | ']' | '(' | ')' | '（' | '）' | '【' | '】')
}

fn trimmed(part: &str) -> &str {
    part.trim_matches(|c: char| SEPARATORS.contains(&c) || c.is_whitespace())
}

// === impl Words ===

impl<'a> Words<'a> {
    /// Reads the parts between dots. Flags count wherever they are; of languages the last ones that stand together, so that a
    /// title may have words that look like some.
    fn new(parts: Vec<&'a str>) -> Self {
        let mut words = Self::default();
        let mut has_hi = false;
        let mut place = Place::Behind;
        for part in parts.into_iter().rev() {
            let read = read(part)
                .filter(|read| place != Place::Before || !read.iter().any(|word| word.is_language()));
            let Some(read) = read else {
                words.notes.push(part);
                if place == Place::Among {
                    place = Place::Before;
                }
                continue;
            };
            for word in read.into_iter().rev() {
                match word {
                    Word::Default => words.is_default = true,
                    Word::Forced => words.is_forced = true,
                    Word::HindiOrImpaired => has_hi = true,
                    Word::Impaired => words.is_for_impaired = true,
                    Word::Language(language) => words.languages.push(language),
                    Word::Note(note) => words.notes.push(note),
                }
                if word.is_language() {
                    place = Place::Among;
                }
            }
        }
        words.languages.reverse();
        words.notes.reverse();
        match words.languages.is_empty() {
            true if has_hi => words.languages.extend(language::of("hin")),
            _ => words.is_for_impaired |= has_hi,
        }
        words
    }

    fn name(&self) -> String {
        let mut names: Vec<_> = self.languages.iter().map(|language| language.name).collect();
        names.dedup();
        let mut name = names.join(" / ");
        let notes = self.notes.join(" ");
        let notes = notes.chars().filter(|c| !c.is_control()).map(|c| if c == '"' { '\'' } else { c });
        let notes: String = notes.take(LONGEST_NOTE).collect();
        let mut details: Vec<&str> = Vec::new();
        match (name.is_empty(), notes.is_empty()) {
            (true, true) => name.push_str("Subtitles"),
            (true, false) => name.push_str(&notes),
            (false, true) => {}
            (false, false) => details.push(&notes),
        }
        if self.is_forced {
            details.push("forced");
        }
        if self.is_for_impaired {
            details.push("SDH");
        }
        if details.is_empty() { name } else { format!("{name} ({})", details.join(", ")) }
    }
}

/// Where a part stands, read from the end.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    Among,
    Before,
    Behind,
}

// === impl Word ===

impl Word<'_> {
    fn is_language(self) -> bool {
        matches!(self, Self::HindiOrImpaired | Self::Language(_))
    }
}

/// What a part says, if all of it is known: `zh-CN`, `简英`, `chs&eng`, `en-sdh`.
fn read(part: &str) -> Option<Vec<Word<'_>>> {
    if let Some(words) = known(part) {
        return Some(words);
    }
    let pieces = part.split(|c| SEPARATORS.contains(&c)).filter(|piece| !piece.is_empty());
    let words = pieces.map(known).collect::<Option<Vec<_>>>()?.concat();
    (!words.is_empty()).then_some(words)
}

fn known(word: &str) -> Option<Vec<Word<'_>>> {
    let is = |flags: &[&str]| flags.iter().any(|flag| word.eq_ignore_ascii_case(flag));
    let one = if is(&["default"]) {
        Word::Default
    } else if is(&["forced", "foreign"]) {
        Word::Forced
    } else if is(&["hi"]) {
        Word::HindiOrImpaired
    } else if is(&["cc", "sdh"]) {
        Word::Impaired
    } else if let Some(language) = language::of(word) {
        Word::Language(language)
    } else {
        return together(word);
    };
    Some(vec![one])
}

/// What is written without spaces: `中英双语`.
fn together(word: &str) -> Option<Vec<Word<'_>>> {
    let mut words = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        let longest = language::PIECES
            .iter()
            .filter(|(piece, _)| rest.starts_with(piece))
            .max_by_key(|(piece, _)| piece.len());
        let (piece, tag) = longest?;
        let (piece, after) = rest.split_at(piece.len());
        match *tag {
            "" => {}
            "note" => words.push(Word::Note(piece)),
            tag => words.push(Word::Language(language::of(tag)?)),
        }
        rest = after;
    }
    // One sign alone is a word of a title: the middle one of three parts.
    let has_language = word.chars().nth(1).is_some() && words.iter().any(|word| word.is_language());
    has_language.then_some(words)
}

// === impl Unique ===

impl Unique {
    fn new(separator: &'static str) -> Self {
        Self { separator, given: HashSet::new(), last: HashMap::new() }
    }

    /// The name, or the name with the first number that makes it another.
    fn take(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let last = self.last.entry(name.to_owned()).or_insert(1);
        while !self.given.insert(unique.clone()) {
            *last += 1;
            unique = format!("{name}{}{last}", self.separator);
        }
        unique
    }
}

/// What may stand between words beside the dot.
const SEPARATORS: [char; 7] = [' ', '_', '-', '&', '+', ',', '、'];
/// Subtitle files of one film, the first by name; chosen: more than any menu shows. Each is looked up among the folder's files.
const MOST: usize = 100;
/// Characters of what else a name says; chosen: more than a menu shows.
const LONGEST_NOTE: usize = 60;
