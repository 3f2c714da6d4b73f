//! What is known of a drive's account beyond whether its login is good, and the words it is told in.

use std::time::SystemTime;

use crate::budget::PaceView;
use crate::section::HumanSize;

/// What is known of an account. What nobody has told yet is left out.
#[derive(Clone, Debug, Default)]
pub struct AccountFacts {
    /// The vendor's package for programs of others, which decides how fast and in which qualities films come.
    pub package: Option<Package>,
    /// The room for files.
    pub space: Option<Space>,
    /// Calls that the drive refused on the account's own grounds when they were made last, by endpoint.
    pub refused: Vec<Refused>,
    /// How fast each class of calls goes at present.
    pub paces: Vec<(&'static str, PaceView)>,
}

/// Whether the account has the package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Package {
    /// It has none.
    Missing,
    /// It has one.
    Owned {
        /// Until when, where the drive says so.
        until: Option<SystemTime>,
    },
}

/// The room for files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Bytes that files take.
    pub used: u64,
    /// Bytes that they may take.
    pub total: u64,
}

/// A call that was refused when it was made last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The vendor's name of the call.
    pub endpoint: &'static str,
    /// What the call was to do; reads after "failed to".
    pub operation: &'static str,
    /// Why, and what to do about it.
    pub words: &'static str,
}

/// One thing that the owner of an account should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// What is so.
    pub text: String,
    /// What follows from it and what to do, where that is not plain.
    pub advice: Option<&'static str>,
}

// === impl AccountFacts ===

impl AccountFacts {
    /// What the owner should know, one thing a line.
    pub fn notes(&self) -> Vec<Note> {
        let package = self.package.map(|package| match package {
            Package::Missing => Note { text: "no third-party package".to_owned(), advice: Some(BUY) },
            Package::Owned { until } => Note {
                text: match until.map(|until| humantime::format_rfc3339_seconds(until).to_string()) {
                    Some(until) => format!("third-party package until {}", until.get(..10).unwrap_or(&until)),
                    None => "third-party package".to_owned(),
                },
                advice: None,
            },
        });
        let space = self.space.map(|space| {
            let text = format!("{} of {} used", HumanSize(space.used), HumanSize(space.total));
            match space.used > space.total {
                true => Note { text: format!("over its storage space: {text}"), advice: Some(FREE) },
                false => Note { text, advice: None },
            }
        });
        let refused = self.refused.iter().map(|Refused { operation, words, .. }| Note {
            text: format!("the last attempt to {operation} was refused: {words}"),
            advice: None,
        });
        let slow =
            self.paces.iter().filter(|(_, pace)| pace.interval > pace.usual).map(|(class, pace)| Note {
                text: format!(
                    "{class} calls are slowed down to {:.1} a second",
                    1.0 / pace.interval.as_secs_f64()
                ),
                advice: Some(SLOWED),
            });
        package.into_iter().chain(space).chain(refused).chain(slow).collect()
    }

    /// What is left of the account's calls, in one line; nothing where the drive sets no limit.
    pub fn budget(&self) -> Option<String> {
        let waiting: usize = self.paces.iter().map(|(_, pace)| pace.waiting).sum();
        let rates = self.paces.iter().map(|(class, pace)| {
            let rate = 1.0 / pace.interval.as_secs_f64();
            format!("{class} {rate:.1}")
        });
        let rates: Vec<String> = rates.collect();
        (!rates.is_empty())
            .then(|| format!("calls a second at present: {}; {waiting} are waiting", rates.join(", ")))
    }
}

const BUY: &str = "without it the drive gives no quality above SD and slows downloads down; no membership of the drive \
     includes it, it is bought in the drive's own app";
const FREE: &str = "the drive refuses previews until some is freed";
const SLOWED: &str =
    "the drive asked for fewer calls; this passes by itself, unless another program uses the account";

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn texts(facts: &AccountFacts) -> Vec<String> {
        facts.notes().into_iter().map(|note| note.text).collect()
    }

    #[test]
    fn facts_are_told_one_a_line_and_what_is_unknown_is_left_out() {
        assert!(texts(&AccountFacts::default()).is_empty());
        assert_eq!(AccountFacts::default().budget(), None);
        let pace = |seconds| PaceView {
            interval: Duration::from_secs(seconds),
            usual: Duration::from_secs(1),
            waiting: 2,
        };
        let facts = AccountFacts {
            package: Some(Package::Missing),
            space: Some(Space { used: 3 << 40, total: 5 << 40 }),
            refused: vec![Refused {
                endpoint: "getLink",
                operation: "get a link",
                words: "the account is frozen",
            }],
            paces: vec![("link", pace(2)), ("list", pace(1))],
        };
        assert_eq!(
            texts(&facts),
            [
                "no third-party package",
                "3.0 TiB of 5.0 TiB used",
                "the last attempt to get a link was refused: the account is frozen",
                "link calls are slowed down to 0.5 a second",
            ]
        );
        assert_eq!(facts.budget().unwrap(), "calls a second at present: link 0.5, list 1.0; 4 are waiting");
    }

    #[test]
    fn a_package_tells_its_end_and_a_full_drive_that_it_is_full() {
        let until = Some(UNIX_EPOCH + Duration::from_secs(1_793_491_200));
        let facts = AccountFacts {
            package: Some(Package::Owned { until }),
            space: Some(Space { used: (5 << 40) + 1, total: 5 << 40 }),
            ..AccountFacts::default()
        };
        assert_eq!(
            texts(&facts),
            ["third-party package until 2026-11-01", "over its storage space: 5.0 TiB of 5.0 TiB used"]
        );
        let endless =
            AccountFacts { package: Some(Package::Owned { until: None }), ..AccountFacts::default() };
        assert_eq!(texts(&endless), ["third-party package"]);
    }
}
