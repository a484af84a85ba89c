//! Who was recognised a moment ago is not asked for again.
//!
//! Enters: somebody who recognises people, and takes time or may be gone. Leaves: the same answers, remembered for a short while.
//! Guarantees: bounded in number and time; while whoever recognises is gone, those who are remembered go on and nobody else is let
//! in; tokens are not kept, only their digests. Does not: make an answer last longer than [`LASTS`].

use crate::who::{Authenticate, NotRecognised, Recognition, Who};
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is remembered, that somebody is nobody, too.
pub const LASTS: Duration = Duration::from_secs(60);
/// Answers that are remembered; those that end first make room.
const MOST: usize = 4096;
/// Longest token that is asked about, in bytes.
const MOST_TOKEN: usize = 16 << 10;

/// An answer that holds for a while.
type Remembered = (Result<Who, NotRecognised>, Instant);

/// Remembers what another says.
pub struct Remembering<A> {
    of: A,
    answers: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl<A> std::fmt::Debug for Remembering<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembering").field("answers", &self.lock().len()).finish_non_exhaustive()
    }
}

impl<A> Remembering<A> {
    /// Remembers what this one says.
    pub fn new(of: A) -> Self {
        Self { of, answers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, token: &[u8; 32], now: Instant) -> Option<Result<Who, NotRecognised>> {
        let answers = self.lock();
        let (answer, until) = answers.get(token)?;
        (*until > now).then(|| answer.clone())
    }

    fn keep(&self, token: [u8; 32], answer: &Result<Who, NotRecognised>, now: Instant) {
        // That nobody could tell is no answer.
        if matches!(answer, Err(NotRecognised::Unavailable(_))) {
            return;
        }
        let mut answers = self.lock();
        if answers.len() >= MOST {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() >= MOST {
            let first = answers.iter().min_by_key(|(_, (_, until))| *until).map(|(token, _)| *token);
            first.and_then(|token| answers.remove(&token));
        }
        answers.insert(token, (answer.clone(), now + LASTS));
    }
}

impl<A: Authenticate> Authenticate for Remembering<A> {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            if token.is_empty() || token.len() > MOST_TOKEN {
                return Err(NotRecognised::Wrong);
            }
            let mut key = [0; 32];
            key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
            if let Some(known) = self.known(&key, Instant::now()) {
                return known;
            }
            let answer = self.of.recognise(token).await;
            self.keep(key, &answer, Instant::now());
            answer
        })
    }

    fn session(&self, who: &Who) -> Duration {
        self.of.session(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::who::Role;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Knows everybody but `nobody`, while it is there.
    #[derive(Default)]
    struct Reviewer {
        asked: AtomicUsize,
        is_gone: AtomicBool,
    }

    impl Authenticate for Reviewer {
        fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = match token {
                _ if self.is_gone.load(Ordering::Relaxed) => {
                    Err(NotRecognised::Unavailable("the API server does not answer".to_owned()))
                }
                "nobody" => Err(NotRecognised::Wrong),
                "idle" => Err(NotRecognised::NoRole("idle".into())),
                name => Ok(Who { name: name.into(), role: Role::Viewer }),
            };
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn answers_are_remembered_and_those_who_are_known_go_on_while_nobody_can_be_asked() {
        let remembering = Remembering::new(Reviewer::default());
        for _ in 0..3 {
            assert_eq!(remembering.recognise("ada").await.unwrap().name, "ada".into());
            assert_eq!(remembering.recognise("nobody").await, Err(NotRecognised::Wrong));
            assert_eq!(remembering.recognise("idle").await, Err(NotRecognised::NoRole("idle".into())));
        }
        assert_eq!(remembering.of.asked.load(Ordering::Relaxed), 3);
        remembering.of.is_gone.store(true, Ordering::Relaxed);
        assert!(remembering.recognise("ada").await.is_ok());
        for _ in 0..2 {
            let new = remembering.recognise("grace").await;
            assert!(matches!(new, Err(NotRecognised::Unavailable(_))), "{new:?}");
        }
        remembering.of.is_gone.store(false, Ordering::Relaxed);
        assert!(remembering.recognise("grace").await.is_ok(), "that nobody could tell is not remembered");
        let asked = remembering.of.asked.load(Ordering::Relaxed);
        for token in ["", &"x".repeat(MOST_TOKEN + 1)] {
            assert_eq!(remembering.recognise(token).await, Err(NotRecognised::Wrong));
        }
        assert_eq!(remembering.of.asked.load(Ordering::Relaxed), asked);
    }

    #[test]
    fn answers_end_and_are_bounded() {
        let remembering = Remembering::new(Reviewer::default());
        let now = Instant::now();
        let token = |number: usize| {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&number.to_be_bytes());
            token
        };
        for number in 0..MOST + 10 {
            let begun = now + Duration::from_millis(number as u64);
            remembering.keep(token(number), &Err(NotRecognised::Wrong), begun);
        }
        assert_eq!(remembering.lock().len(), MOST);
        assert_eq!(remembering.known(&token(0), now), None, "the first made room");
        let newest = token(MOST + 9);
        assert!(remembering.known(&newest, now).is_some());
        assert_eq!(remembering.known(&newest, now + LASTS + Duration::from_secs(60)), None);
    }
}
