//! What a request shows of itself in `Authorization`. Pure.

use data_encoding::BASE64;

use crate::secret::Secret;

/// What is shown, in a form that can be checked.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A name and a password. The name may be of any text, hostile too.
    Password {
        /// As it was given.
        name: String,
        /// As it was given.
        password: Secret,
    },
    /// A token: the API's, or that of a login. Sent raw, as AList's clients do, or after `Bearer`.
    Token(Secret),
}

impl Credentials {
    /// Reads the value of `Authorization`; none where it is of a scheme that we do not have, malformed, empty or absurdly long.
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > LONGEST {
            return None;
        }
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or(("", value.trim()));
        let rest = rest.trim();
        if rest.is_empty() || rest.eq_ignore_ascii_case("basic") || rest.eq_ignore_ascii_case("bearer") {
            return None;
        }
        if scheme.is_empty() || scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Token(Secret::new(rest)));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(BASE64.decode(rest.as_bytes()).ok()?).ok()?;
        let (name, password) = pair.split_once(':')?;
        Some(Self::Password { name: name.to_owned(), password: Secret::new(password) })
    }
}

/// Bytes; chosen: far more than any token that is handed out, and little to decode.
const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Option<(String, String)> {
        Some(match Credentials::parse(value)? {
            Credentials::Password { name, password } => (name, password.expose().to_owned()),
            Credentials::Token(token) => (String::new(), token.expose().to_owned()),
        })
    }

    #[test]
    fn a_password_and_a_token_are_read_in_every_form() {
        let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
        assert_eq!(parsed("Basic YW5uYTpzZSBjOnJldA=="), pair("anna", "se c:ret"));
        assert_eq!(parsed("basic  YW5uYTpzZSBjOnJldA== "), pair("anna", "se c:ret"));
        assert_eq!(parsed("token"), pair("", "token"));
        assert_eq!(parsed("Bearer token"), pair("", "token"));
        assert_eq!(parsed("BEARER token"), pair("", "token"));
        for nothing in
            ["", " ", "Basic", "Basic ", "Basic !", "Basic YW5uYQ==", "Basic /w==", "Digest a=b", "Bearer "]
        {
            assert_eq!(parsed(nothing), None, "{nothing}");
        }
        assert_eq!(parsed(&"x".repeat(LONGEST + 1)), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_printed(value in "(Basic |Bearer )?[ -~]{0,60}") {
            if let Some(credentials) = Credentials::parse(&value) {
                let printed = format!("{credentials:?}");
                if let Credentials::Token(token) = credentials
                    && token.expose().len() > 8
                {
                    prop_assert!(!printed.contains(token.expose()));
                }
            }
        }
    }
}
