//! Logging in for a token, as AList's clients do it.
//!
//! Answers are always 200, with AList's envelope: the code stands in it, and so does the message, which some clients compare.

use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::target::Login;
use super::{Site, place};
use crate::access::credentials::Credentials;
use crate::access::logins::Refusal;
use crate::access::passwords::Given;
use crate::error::Result;
use crate::http::{Body, Request, Response, Upload};
use crate::secret::Secret;

/// What is sent to log in. Other fields, such as a one-time code, are ignored.
#[derive(Deserialize)]
pub struct Form {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Form {
    /// Reads a body; none where it is no JSON object of that kind. Whatever its type is said to be: helpers send none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Form(…)")
    }
}

impl Site {
    /// Answers `/api/auth/…`.
    pub(super) async fn login(&self, request: &Request, login: Login) -> Result<Response> {
        if login == Login::Out {
            let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            if let Some(Credentials::Token(token)) = value.and_then(Credentials::parse) {
                self.0.admission.end(&token);
            }
            return Ok(envelope(200, "success", &Value::Null));
        }
        if *request.method() != Method::POST {
            let mut response = envelope(405, "this address takes POST", &Value::Null);
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let body = match request.extensions().get::<Upload>() {
            Some(upload) => upload.read().await?,
            None => Vec::new(),
        };
        let Some(Form { username, password }) = Form::parse(&body) else {
            return Ok(envelope(400, "the body must be JSON with username and password", &Value::Null));
        };
        let given = match login {
            Login::Static => Given::Static(Secret::new(password.to_ascii_lowercase())),
            _ => Given::Password(Secret::new(password)),
        };
        Ok(match self.0.admission.settle(&username, given, place(request)).await {
            Ok(user) => {
                let token = self.0.admission.issue(&user);
                envelope(200, "success", &json!({ "token": token.expose() }))
            }
            Err(Refusal::Wrong) => envelope(400, "password is incorrect", &Value::Null),
            Err(Refusal::Busy) => too_many("too many logins at once, try again shortly", 2),
            Err(Refusal::TooOften(wait)) => too_many(
                "too many unsuccessful sign-in attempts have been made, try again later",
                wait.as_secs(),
            ),
        })
    }
}

/// AList says this within a 200; the header tells those who look for it.
fn too_many(message: &str, seconds: u64) -> Response {
    let mut response = envelope(429, message, &Value::Null);
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// AList's answer to everything.
fn envelope(code: u16, message: &str, data: &Value) -> Response {
    let text = json!({ "code": code, "message": message, "data": data }).to_string();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.body_mut() = Body::full(text);
    response
}
