//! Requests by which somebody logs in by way of an identity provider, and what a browser is answered.
//!
//! Guarantees: the cookie of an attempt is for a few minutes, cannot be read by scripts, and comes back with a navigation from the
//! provider (`SameSite=Lax`) but with nothing else that another site asks for; the session's own cookie stays `SameSite=Strict`.
//! People get a page, not JSON: it is a browser that asks.

use crate::body::AnswerBody;
use crate::cookie::ATTEMPT;
use crate::dispatch::Shared;
use crate::problem::Problem;
use crate::sign_on::{Answered, NotSignedOn, SignOn, not_logged_in};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::net::IpAddr;

impl Shared {
    /// Sends a browser to the provider.
    pub(crate) async fn begin_sign_on(&self, page: &str) -> Result<Response<AnswerBody>, Problem> {
        let sign_on = self.sign_on()?;
        let begun = match sign_on.begin(page).await {
            Ok(begun) => begun,
            Err(why) => return Ok(refusal(&why)),
        };
        let mut response = leads_to(&begun.location)?;
        self.set_attempt(&mut response, &begun.cookie, SignOn::attempt_lasts());
        Ok(response)
    }

    /// What the provider sent a browser back with.
    pub(crate) async fn signed_on(
        &self,
        from: IpAddr,
        request: &Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let sign_on = self.sign_on()?;
        // Who only looks whether there is something must not use the code up.
        if request.method() != Method::GET {
            let allow = Some("GET".to_owned());
            return Err(Problem { allow, ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET") });
        }
        self.check_wrongs(from)?;
        let cookie = ATTEMPT.of(request.headers(), self.comes_back_by_tls(sign_on));
        let finished = match Answered::read(request.uri().query().unwrap_or("")) {
            Ok(answered) => sign_on.finish(cookie, &answered).await,
            Err(why) => Err(why),
        };
        match finished {
            Ok(finished) => {
                let mut response = leads_to(&finished.location)?;
                let secure = self.comes_back_by_tls(sign_on);
                let how = format!("by way of {}", sign_on.provider());
                self.begin_session(&mut response, (from, &how), finished.who, secure)?;
                self.set_attempt(&mut response, "", 0);
                Ok(response)
            }
            Err(why) => {
                if why.is_refusal() {
                    self.note_refusal(from, &why.to_string());
                }
                let mut response = refusal(&why);
                if why.ends_attempt() {
                    self.set_attempt(&mut response, "", 0);
                }
                Ok(response)
            }
        }
    }

    fn sign_on(&self) -> Result<&SignOn, Problem> {
        self.sign_on.as_ref().ok_or_else(|| {
            Problem::not_found(
                "nobody is logged in by way of an identity provider here (--serve-oidc-client): give a token",
            )
        })
    }

    fn comes_back_by_tls(&self, sign_on: &SignOn) -> bool {
        self.has_tls || sign_on.is_over_tls()
    }

    fn set_attempt(&self, response: &mut Response<AnswerBody>, sealed: &str, seconds: u64) {
        let is_secure = self.sign_on.as_ref().is_some_and(|sign_on| self.comes_back_by_tls(sign_on));
        ATTEMPT.set(response, sealed, seconds, is_secure);
    }
}

fn leads_to(location: &str) -> Result<Response<AnswerBody>, Problem> {
    let location = HeaderValue::from_str(location)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the address to go on with is none"))?;
    let mut response = Response::new(AnswerBody::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn refusal(why: &NotSignedOn) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(Bytes::from(not_logged_in(&why.to_string()))));
    *response.status_mut() = why.status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
