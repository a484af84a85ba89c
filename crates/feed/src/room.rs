//! Room for so many connections at a time, from which nobody keeps others out.
//!
//! Enters: where a connection comes from, and that it has shown whose it is. Leaves: a seat, and that another needs it. Guarantees: whoever
//! comes has a seat at once; where all are taken, one gives way: of those that have not shown whose they are, the oldest of whoever has most,
//! and one of the others only where there are no such. So whoever opens connections and holds them takes them from themselves. Does not: close
//! connections; whoever has a seat does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Who counts as one: of IPv6 a whole network, in which somebody has as many addresses as they like (RFC 4291, section 2.5.4).
#[must_use]
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// All seats.
#[derive(Clone, Debug)]
pub struct Room {
    most: usize,
    seats: Arc<Mutex<BTreeMap<u64, Taken>>>,
}

/// One that is taken.
#[derive(Debug)]
struct Taken {
    by: IpAddr,
    is_known: bool,
    is_over: Arc<Notify>,
}

/// One of them, until it is dropped or given away.
#[derive(Debug)]
#[must_use]
pub struct Seat {
    /// The later the higher.
    number: u64,
    from: IpAddr,
    is_over: Arc<Notify>,
    room: Room,
}

impl Room {
    /// With so many seats, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), seats: Arc::default() }
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<u64, Taken>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a connection from there.
    pub fn enter(&self, from: IpAddr) -> Seat {
        let mut seats = self.seats();
        if seats.len() >= self.most
            && let Some(one) = who_gives_way(&seats).and_then(|number| seats.remove(&number))
        {
            // Also whoever waits for it only later hears of it.
            one.is_over.notify_one();
        }
        let number = seats.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1));
        let is_over = Arc::new(Notify::new());
        seats.insert(number, Taken { by: party(from), is_known: false, is_over: Arc::clone(&is_over) });
        drop(seats);
        Seat { number, from, is_over, room: self.clone() }
    }
}

fn who_gives_way(seats: &BTreeMap<u64, Taken>) -> Option<u64> {
    let all_are_known = seats.values().all(|seat| seat.is_known);
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    let candidates = || seats.iter().filter(|(_, seat)| seat.is_known == all_are_known);
    candidates().for_each(|(_, seat)| *counts.entry(seat.by).or_default() += 1);
    candidates()
        .min_by_key(|(number, seat)| (Reverse(counts.get(&seat.by)), **number))
        .map(|(number, _)| *number)
}

impl Seat {
    /// Where the connection comes from.
    #[must_use]
    pub fn from(&self) -> IpAddr {
        self.from
    }

    /// The connection has shown whose it is.
    pub fn shown(&self) {
        if let Some(seat) = self.mine(&mut self.room.seats()) {
            seat.is_known = true;
        }
    }

    /// Waits until somebody else needs it.
    pub async fn given_away(&self) {
        self.is_over.notified().await;
    }

    /// Numbers begin anew where all left: another may have the one of a seat that was given away.
    fn mine<'s>(&self, seats: &'s mut BTreeMap<u64, Taken>) -> Option<&'s mut Taken> {
        seats.get_mut(&self.number).filter(|seat| Arc::ptr_eq(&seat.is_over, &self.is_over))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.room.seats();
        if self.mine(&mut seats).is_some() {
            seats.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn is_over(seat: &Seat) -> bool {
        let waiting = std::pin::pin!(seat.given_away());
        waiting.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    /// One from each of these addresses.
    fn enter(room: &Room, from: &[&str]) -> Vec<Seat> {
        from.iter().map(|from| room.enter(from.parse().unwrap())).collect()
    }

    /// Which of them are over.
    fn over(seats: &[Seat]) -> Vec<usize> {
        seats.iter().enumerate().filter(|(_, seat)| is_over(seat)).map(|(at, _)| at).collect()
    }

    #[test]
    fn whoever_has_most_gives_way_the_oldest_first_and_those_who_are_known_last() {
        let room = Room::new(4);
        let seats = enter(&room, &["10.0.0.9", "10.0.0.1", "10.0.0.1", "10.0.0.1"]);
        assert_eq!(over(&seats), [0; 0]);
        seats[1].shown();
        let later = enter(&room, &["10.0.0.2"]);
        assert_eq!(over(&seats), [2], "not the oldest of all, and not one that is known");
        let last = enter(&room, &["10.0.0.3"]);
        assert_eq!(over(&seats), [0], "each has one: the oldest");
        assert_eq!((over(&later), over(&last)), (vec![], vec![]));
    }

    #[test]
    fn one_network_of_ipv6_is_one_and_so_are_both_ways_to_write_an_address() {
        let room = Room::new(3);
        let seats = enter(&room, &["2001:db8:1::1", "2001:db8::1", "2001:db8::2"]);
        let more = enter(&room, &["192.0.2.1"]);
        assert_eq!(over(&seats), [1]);
        assert_eq!(more[0].from(), "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(party("::ffff:192.0.2.1".parse().unwrap()), more[0].from());
    }

    #[test]
    fn those_who_are_known_give_way_to_each_other() {
        let room = Room::new(2);
        let seats = enter(&room, &["10.0.0.1", "10.0.0.1"]);
        seats.iter().for_each(Seat::shown);
        let _more = enter(&room, &["10.0.0.2"]);
        assert_eq!(over(&seats), [0]);
    }

    #[test]
    fn what_is_left_is_free_and_a_seat_that_was_given_away_takes_none_with_it() {
        let room = Room::new(1);
        let first = enter(&room, &["10.0.0.1"]);
        let second = enter(&room, &["10.0.0.1"]);
        assert_eq!((over(&first), over(&second)), (vec![0], vec![]));
        first[0].shown();
        drop(first);
        assert_eq!(room.seats().len(), 1, "the second keeps its own");
        let third = enter(&room, &["10.0.0.1"]);
        assert_eq!((over(&second), over(&third)), (vec![0], vec![]), "it was not known");
        drop(second);
        assert_eq!(room.seats().len(), 1);
        drop(third);
        assert_eq!(room.seats().len(), 0);
    }
}
