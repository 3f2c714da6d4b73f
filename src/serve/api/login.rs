//! Logging in for a token, and the end of it.

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{Form, Refused, envelope, success, too_many};
use crate::access::credentials::Credentials;
use crate::access::logins::Refusal;
use crate::access::passwords::Given;
use crate::http::{Request, Response};
use crate::secret::Secret;
use crate::serve::{Site, place};

/// A call about a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Login {
    /// With the password.
    Password,
    /// With AList's static hash of it.
    Static,
    /// The end of a login.
    Out,
}

impl Site {
    pub(super) async fn login(&self, request: &Request, login: Login) -> Result<Response, Refused> {
        if login == Login::Out {
            let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            if let Some(Credentials::Token(token)) = value.and_then(Credentials::parse) {
                self.0.admission.end(&token);
            }
            return Ok(success(()));
        }
        if *request.method() != Method::POST {
            let mut response = envelope(405, "this address takes POST", ());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let form = Form::posted(request).await?;
        let (name, password) = (form.text("username")?, form.text("password")?);
        let given = match login {
            Login::Static => Given::Static(Secret::new(password.to_ascii_lowercase())),
            _ => Given::Password(Secret::new(password)),
        };
        Ok(match self.0.admission.settle(name, given, place(request)).await {
            Ok(user) => {
                let token = self.0.admission.issue(&user);
                success(json!({ "token": token.expose() }))
            }
            Err(Refusal::Wrong) => envelope(400, "password is incorrect", ()),
            Err(Refusal::Busy) => too_many("too many logins at once, try again shortly", 2),
            Err(Refusal::TooOften(wait)) => too_many(
                "too many unsuccessful sign-in attempts have been made, try again later",
                wait.as_secs(),
            ),
        })
    }
}
