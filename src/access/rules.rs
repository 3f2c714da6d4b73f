//! What of the tree somebody may see: the user's own part of it, and the rules that the operator set for parts of it. Pure.
//!
//! Every rule that covers a path holds; none opens what another one closes. Whoever holds the signature of a path may have what
//! lies there: it was given by somebody who may.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wildmatch::WildMatch;

use super::Visitor;
use crate::path::VirtualPath;
use crate::secret::Secret;

/// What holds in a part of the tree.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The folder, or file.
    pub path: VirtualPath,
    /// Without which nobody but an administrator may see it.
    pub password: Option<Secret>,
    /// Names that nobody but an administrator sees; `*` and `?` stand for others, and capitals do not matter.
    pub hide: Vec<String>,
    /// The users who alone may see it; empty for everybody who may read.
    pub users: Vec<Arc<str>>,
    /// Whether it holds for all that lies below the folder, and not only for the folder and what lies in it.
    pub recursive: bool,
}

/// All rules.
#[derive(Clone)]
pub struct Rules(Arc<[Prepared]>);

struct Prepared {
    rule: Rule,
    hide: Vec<WildMatch>,
    /// Shown by a browser in place of the password; another one where the password is.
    proof: Option<String>,
}

/// What somebody may see; among a request's extensions once it is past the gate. Clones are cheap.
#[derive(Clone)]
pub struct Sight {
    /// Who it is.
    pub visitor: Visitor,
    rules: Rules,
    /// The rules whose password was given, by number; none for none.
    unlocked: Option<Arc<[usize]>>,
}

/// What is said of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It may be seen.
    Allowed,
    /// It is not theirs.
    Denied,
    /// To them it is not there.
    Hidden,
    /// It opens with the password of the rule of this number.
    Locked(usize),
}

// === impl Rule ===

impl Rule {
    fn covers(&self, path: &VirtualPath) -> bool {
        path.components_below(&self.path).is_some_and(|mut below| self.recursive || below.nth(1).is_none())
    }

    /// Whether whoever sees the path must be somebody, or know something.
    fn is_closed(&self) -> bool {
        self.password.is_some() || !self.users.is_empty()
    }
}

// === impl Prepared ===

impl Prepared {
    /// Whether a name on the way is one that is hidden in its folder.
    fn hides(&self, path: &VirtualPath) -> bool {
        let reach = if self.rule.recursive { usize::MAX } else { 1 };
        let is_hidden = |name: &str| self.hide.iter().any(|glob| glob.matches(name));
        path.components_below(&self.rule.path).is_some_and(|below| below.take(reach).any(is_hidden))
    }
}

// === impl Rules ===

impl Rules {
    /// The rules. `key` makes what a browser shows in place of a password.
    pub fn new(rules: &[Rule], key: &Secret) -> Self {
        let prepare = |rule: &Rule| Prepared {
            hide: rule.hide.iter().map(|glob| WildMatch::new_case_insensitive(glob)).collect(),
            proof: rule.password.as_ref().map(|password| {
                let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(b"sluice unlock\0");
                mac.update(rule.path.as_str().as_bytes());
                mac.update(b"\0");
                mac.update(password.expose().as_bytes());
                data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
            }),
            rule: rule.clone(),
        };
        Self(rules.iter().map(prepare).collect())
    }

    /// Whether an address of this path must carry a signature, whatever others do: not everybody may see what lies there.
    pub fn protect(&self, path: &VirtualPath) -> bool {
        self.0.iter().any(|Prepared { rule, .. }| rule.is_closed() && rule.covers(path))
    }

    /// What a visitor may see who has shown these proofs.
    pub fn sight<'a>(&self, visitor: Visitor, proofs: impl Iterator<Item = &'a str>) -> Sight {
        let mut unlocked = Vec::new();
        for given in proofs {
            let is_it = |prepared: &Prepared| {
                prepared
                    .proof
                    .as_ref()
                    .is_some_and(|proof| bool::from(proof.as_bytes().ct_eq(given.as_bytes())))
            };
            unlocked.extend(self.0.iter().position(is_it));
        }
        let unlocked = (!unlocked.is_empty()).then(|| unlocked.into());
        Sight { visitor, rules: self.clone(), unlocked }
    }

    /// What to show from now on, where `password` is that of a rule.
    pub fn proof_for(&self, number: usize, password: &str) -> Option<&str> {
        let Prepared { rule, proof, .. } = self.0.get(number)?;
        let fits = bool::from(rule.password.as_ref()?.expose().as_bytes().ct_eq(password.as_bytes()));
        proof.as_deref().filter(|_| fits)
    }

    /// Whether any rule has a password, so that proofs are worth looking for.
    pub fn have_passwords(&self) -> bool {
        self.0.iter().any(|prepared| prepared.proof.is_some())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.0.len())
    }
}

// === impl Sight ===

impl Sight {
    /// What is said of a path.
    pub fn of(&self, path: &VirtualPath) -> Verdict {
        if !self.visitor.reaches(path) {
            return Verdict::Denied;
        }
        if self.rules.0.is_empty() || self.visitor.is_administrator() {
            return Verdict::Allowed;
        }
        let (mut verdict, mut is_hidden) = (Verdict::Allowed, false);
        for (number, prepared) in self.rules.0.iter().enumerate() {
            let rule = &prepared.rule;
            // First, since it is what most rules are done with.
            if !path.is_below(&rule.path) {
                continue;
            }
            is_hidden |= prepared.hides(path);
            if !rule.is_closed() || !rule.covers(path) || matches!(self.visitor, Visitor::Signed) {
                continue;
            }
            let is_meant = |name: &str| rule.users.iter().any(|user| **user == *name);
            if !rule.users.is_empty() && !self.visitor.name().is_some_and(is_meant) {
                return Verdict::Denied;
            }
            if rule.password.is_some() && !self.unlocked().contains(&number) {
                verdict = Verdict::Locked(number);
            }
        }
        if is_hidden { Verdict::Hidden } else { verdict }
    }

    /// Whether a child of a folder is shown. Of a locked one it is shown that it is there.
    pub fn shows(&self, folder: &VirtualPath, name: &str) -> bool {
        if self.rules.0.is_empty() {
            return true;
        }
        // What cannot be a path cannot be asked for either.
        let verdict = folder.join(name).map(|child| self.of(&child));
        matches!(verdict, Ok(Verdict::Allowed | Verdict::Locked(_)))
    }

    /// The same with these passwords given.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Self {
        if password.is_empty() {
            return self.clone();
        }
        let fits = |number: &usize| self.rules.proof_for(*number, password).is_some();
        let given = (0..self.rules.0.len()).filter(fits);
        Self { unlocked: Some(self.unlocked().iter().copied().chain(given).collect()), ..self.clone() }
    }

    fn unlocked(&self) -> &[usize] {
        self.unlocked.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what {:?} may see", self.visitor)
    }
}

/// What the names of cookies begin with that carry a proof; the number of the rule follows.
pub const PROOF: &str = "sluice-open-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Permissions, User};
    use super::*;
    use crate::access::PasswordHash;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    fn user(name: &str, root: &str, may: Permissions) -> Arc<User> {
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0",
        );
        Arc::new(User { name: name.into(), hash: hash.unwrap(), root: path(root), may })
    }

    const READ: Permissions = Permissions { read: true, write: false, admin: false };
    const ADMIN: Permissions = Permissions { read: true, write: true, admin: true };

    fn rule(at: &str) -> Rule {
        Rule { path: path(at), password: None, hide: Vec::new(), users: Vec::new(), recursive: true }
    }

    fn sight(rules: &[Rule], visitor: Visitor) -> Sight {
        Rules::new(rules, &Secret::new("key")).sight(visitor, std::iter::empty())
    }

    #[test]
    fn a_user_sees_the_own_part_of_the_tree_alone() {
        let anna = sight(&[], Visitor::User(user("anna", "/team/a", READ)));
        for (at, verdict) in [
            ("/team/a", Verdict::Allowed),
            ("/team/a/b/c", Verdict::Allowed),
            ("/team/ab", Verdict::Denied),
            ("/team", Verdict::Denied),
            ("/", Verdict::Denied),
        ] {
            assert_eq!(anna.of(&path(at)), verdict, "{at}");
        }
        let nothing = Permissions::default();
        assert_eq!(sight(&[], Visitor::User(user("bob", "/", nothing))).of(&path("/a")), Verdict::Denied);
    }

    #[test]
    fn rules_hold_for_all_but_administrators() {
        let rules = [
            Rule { users: vec!["anna".into()], ..rule("/private") },
            Rule { password: Some(Secret::new("open sesame")), ..rule("/cave") },
            Rule { hide: vec!["*.nfo".to_owned(), "?tmp".to_owned()], ..rule("/films") },
            Rule { hide: vec!["*.txt".to_owned()], recursive: false, ..rule("/flat") },
            Rule { users: vec!["anna".into()], recursive: false, ..rule("/flat/near") },
        ];
        let of = |visitor: Visitor, at: &str| sight(&rules, visitor).of(&path(at));
        let (anna, bob) = (user("anna", "/", READ), user("bob", "/", READ));
        let root = user("root", "/", ADMIN);
        for (visitor, at, verdict) in [
            (Visitor::User(Arc::clone(&anna)), "/private/a", Verdict::Allowed),
            (Visitor::Device(anna), "/private/a", Verdict::Allowed),
            (Visitor::User(Arc::clone(&bob)), "/private", Verdict::Denied),
            (Visitor::Guest, "/private/a/b", Verdict::Denied),
            (Visitor::Signed, "/private/a/b", Verdict::Allowed),
            (Visitor::Administrator, "/private/a/b", Verdict::Allowed),
            (Visitor::User(root), "/cave/a.NFO", Verdict::Allowed),
            (Visitor::User(bob), "/cave/a", Verdict::Locked(1)),
            (Visitor::Guest, "/films/a/b.NFO", Verdict::Hidden),
            (Visitor::Guest, "/films/xtmp/b.mkv", Verdict::Hidden),
            (Visitor::Guest, "/films.nfo", Verdict::Allowed),
            (Visitor::Guest, "/flat/a.txt", Verdict::Hidden),
            (Visitor::Guest, "/flat/b/a.txt", Verdict::Allowed),
            (Visitor::Guest, "/flat/near", Verdict::Denied),
            (Visitor::Guest, "/flat/near/a", Verdict::Denied),
            (Visitor::Guest, "/flat/near/a/b", Verdict::Allowed),
            (Visitor::Signed, "/films/a.nfo", Verdict::Hidden),
        ] {
            assert_eq!(of(visitor.clone(), at), verdict, "{visitor:?} at {at}");
        }
        let guest = sight(&rules, Visitor::Guest);
        let shown = |folder, name| guest.shows(&path(folder), name);
        assert!(shown("/", "cave") && shown("/films", "a.mkv"));
        assert!(!shown("/", "private") && !shown("/films", "a.nfo") && !shown("/", "a/b"));
        let rules = Rules::new(&rules, &Secret::new("key"));
        assert!(rules.protect(&path("/cave/a")) && rules.protect(&path("/private")));
        assert!(!rules.protect(&path("/films/a.nfo")) && !rules.protect(&path("/caves")));
    }

    #[test]
    fn a_password_opens_its_rule_and_its_proof_does_from_then_on() {
        let locked = |at, password| Rule { password: Some(Secret::new(password)), ..rule(at) };
        let all = [locked("/cave", "one word"), locked("/cave/deep", "another")];
        let rules = Rules::new(&all, &Secret::new("key"));
        let guest = rules.sight(Visitor::Guest, std::iter::empty());
        let (cave, deep) = (path("/cave/a"), path("/cave/deep/a"));
        assert_eq!(guest.with_password("one word").of(&cave), Verdict::Allowed);
        assert_eq!(guest.with_password("one word").of(&deep), Verdict::Locked(1));
        assert_eq!(guest.with_password("one word").with_password("another").of(&deep), Verdict::Allowed);
        assert_eq!(guest.with_password("").of(&cave), Verdict::Locked(0));
        assert_eq!(rules.proof_for(0, "another"), None);
        let proof = rules.proof_for(0, "one word").unwrap();
        assert!(!proof.contains("word"));
        assert_eq!(rules.sight(Visitor::Guest, [proof].into_iter()).of(&cave), Verdict::Allowed);
        let changed = Rules::new(&[locked("/cave", "one Word")], &Secret::new("key"));
        assert_eq!(changed.sight(Visitor::Guest, [proof].into_iter()).of(&cave), Verdict::Locked(0));
    }

    proptest! {
        // 10,000 cases, and a million in the long run: `PROPTEST_CASES=1000000 cargo test --release scope`.
        #![proptest_config(ProptestConfig::with_cases(crate::path::cases()))]

        #[test]
        fn scope_is_what_lies_below_by_component(root in "(/[ab.]{1,3}){0,3}", at in "(/[ab.%]{1,3}){0,5}") {
            let (Ok(root), Ok(at)) = (VirtualPath::parse(&root), VirtualPath::parse(&at)) else { return Ok(()) };
            let anna = sight(&[], Visitor::User(user("anna", root.as_str(), READ)));
            let (own, asked): (Vec<_>, Vec<_>) = (root.components().collect(), at.components().collect());
            let is_below = asked.len() >= own.len() && asked[..own.len()] == own[..];
            prop_assert_eq!(anna.of(&at) == Verdict::Allowed, is_below);
            let closed = sight(&[Rule { users: vec!["bob".into()], ..rule(root.as_str()) }], Visitor::Guest);
            prop_assert_eq!(closed.of(&at) == Verdict::Denied, is_below);
        }
    }
}
