//! Log-ins of browsers, and how often somebody may be wrong.
//!
//! Guarantees: bounded; a session ends after [`LASTS`], and with the process; who is wrong too often waits. Does not: keep
//! tokens, only who had one.

use crate::token::random;
use crate::who::Who;
use feed::room::party;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a log-in holds, at most.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);
/// Log-ins at a time; the oldest ends for one more.
const SESSIONS: usize = 1024;
/// So often somebody may be wrong within [`WINDOW`].
const WRONG: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted for; those beyond share one count.
const ADDRESSES: usize = 4096;

/// Log-ins that hold.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, (Who, Instant)>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Who, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one; its name is what the cookie has.
    pub(crate) fn begin(&self, who: Who, lasts: Duration, now: Instant) -> io::Result<String> {
        let name = random()?;
        let mut sessions = self.lock();
        sessions.retain(|_, (_, until)| *until > now);
        if sessions.len() >= SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, (_, until))| *until).map(|(name, _)| name.clone());
            oldest.and_then(|name| sessions.remove(&name));
        }
        sessions.insert(name.clone(), (who, now + lasts.min(LASTS)));
        Ok(name)
    }

    /// Whose it is. The names are random, so that looking one up tells nothing of others.
    pub(crate) fn of(&self, name: &str, now: Instant) -> Option<Who> {
        let sessions = self.lock();
        let (who, until) = sessions.get(name)?;
        (*until > now).then(|| who.clone())
    }

    /// Ends one.
    pub(crate) fn end(&self, name: &str) {
        self.lock().remove(name);
    }
}

/// How often who was wrong lately.
#[derive(Debug, Default)]
pub(crate) struct Wrongs(Mutex<HashMap<Option<IpAddr>, (u32, Instant)>>);

impl Wrongs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, (u32, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many seconds an address has to wait; 0: none.
    pub(crate) fn wait(&self, address: IpAddr, now: Instant) -> u64 {
        let counts = self.lock();
        let count = counts.get(&Some(party(address))).or_else(|| counts.get(&None));
        match count {
            Some((count, until)) if *count >= WRONG && *until > now => (*until - now).as_secs() + 1,
            Some(_) | None => 0,
        }
    }

    /// Somebody was wrong. Whether this is to be told of: the first few and the one that makes them wait.
    pub(crate) fn add(&self, address: IpAddr, now: Instant) -> bool {
        let address = party(address);
        let mut counts = self.lock();
        counts.retain(|_, (_, until)| *until > now);
        let is_known = counts.contains_key(&Some(address));
        let key = (is_known || counts.len() < ADDRESSES).then_some(address);
        let (count, _) = counts.entry(key).or_insert((0, now + WINDOW));
        *count = count.saturating_add(1);
        *count <= WRONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::who::Role;

    fn who() -> Who {
        Who { name: "a".into(), role: Role::Viewer }
    }

    #[test]
    fn a_session_holds_until_it_is_ended_or_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let [one, two] = [0; 2].map(|_| sessions.begin(who(), LASTS, now).unwrap());
        assert_ne!(one, two);
        assert_eq!(sessions.of(&one, now), Some(who()));
        sessions.end(&one);
        assert_eq!(sessions.of(&one, now), None);
        assert_eq!(sessions.of(&two, now + LASTS), None);
        assert_eq!(sessions.of("", now), None);
    }

    #[test]
    fn sessions_beyond_the_bound_end_the_oldest() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.begin(who(), LASTS, now).unwrap();
        for number in 1..=SESSIONS {
            sessions.begin(who(), LASTS, now + Duration::from_secs(number as u64)).unwrap();
        }
        assert_eq!(sessions.lock().len(), SESSIONS);
        assert_eq!(sessions.of(&first, now), None);
    }

    #[test]
    fn who_is_wrong_too_often_waits_and_nobody_else_does() {
        let (wrongs, now) = (Wrongs::default(), Instant::now());
        let [bad, good] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let told = (0..WRONG + 5).filter(|_| wrongs.add(bad, now)).count();
        assert_eq!(told, WRONG as usize);
        assert!(wrongs.wait(bad, now) > 0);
        assert_eq!(wrongs.wait(good, now), 0);
        assert_eq!(wrongs.wait(bad, now + WINDOW), 0);
    }

    #[test]
    fn who_has_a_whole_network_of_addresses_does_not_make_all_others_wait() {
        let (wrongs, now) = (Wrongs::default(), Instant::now());
        for number in 0..3 * ADDRESSES as u64 {
            wrongs.add(format!("2001:db8::{number:x}").parse().unwrap(), now);
        }
        let waits = |address: &str| wrongs.wait(address.parse().unwrap(), now) > 0;
        assert!(waits("2001:db8::ffff:1"));
        assert!(!waits("2001:db8:0:1::1") && !waits("192.0.2.1"));
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        for _ in 0..WRONG {
            wrongs.add(mapped, now);
        }
        assert!(waits("192.0.2.7") && !waits("::ffff:192.0.2.8"));
    }
}
