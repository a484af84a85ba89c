//! Budgets: what the kernel counts and stops, and that it is read back as it is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{ApplyError, Budget, Budgets, Window};
use nix::sys::socket::sockopt::{Linger, Priority, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PORT: u16 = 90;
const LIMIT: u64 = 300_000;

/// Reads what comes to the port of pod 0, and counts its bytes.
fn sink(lab: &Lab) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    lab.pods[0].inside(move || {
        let listener = TcpListener::bind(("::", PORT)).unwrap();
        // Ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, counted) = (stream.unwrap(), counted.clone());
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        counted.fetch_add(u64::try_from(length).unwrap(), Ordering::Relaxed);
                    }
                });
            }
        });
    });
    count
}

/// A connection from the node to pod 0 whose packets have the priority from the first one on.
fn open(lab: &Lab, to: IpAddr, priority: u32) -> Option<TcpStream> {
    lab.node.inside(move || {
        let to = SocketAddr::new(to, PORT);
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&fd, Priority, &i32::try_from(priority).unwrap()).unwrap();
        let patience = TimeVal::milliseconds(i64::try_from(SILENCE.as_millis()).unwrap());
        setsockopt(&fd, SendTimeout, &patience).unwrap();
        // Nothing is sent any more when it is dropped.
        setsockopt(&fd, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).ok()?;
        Some(TcpStream::from(fd))
    })
}

/// Sends until so many bytes are sent or nothing moves any more, and says how many arrived.
fn push(stream: &mut TcpStream, mut bytes: usize, arrived: &AtomicU64) -> u64 {
    let before = arrived.load(Ordering::Relaxed);
    let chunk = [7; 4096];
    while bytes > 0 {
        match stream.write(&chunk[..bytes.min(chunk.len())]) {
            Ok(length) => bytes -= length,
            Err(_) => break,
        }
    }
    settled(arrived) - before
}

/// The count once it stays what it is.
fn settled(count: &AtomicU64) -> u64 {
    loop {
        let before = count.load(Ordering::Relaxed);
        std::thread::sleep(SILENCE);
        if count.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}

fn budgets(lab: &Lab) -> Budgets {
    lab.node.inside(|| Budgets::open().unwrap())
}

fn window(limit: u64, used: u64) -> Option<Window> {
    Some(Window { limit, used })
}

fn hourly(number: u32, limit: u64, used: u64) -> Budget {
    Budget { number, hour: window(limit, used), day: None }
}

#[test]
fn kernel_budget_ends_what_exceeds_it_over_every_connection_and_nothing_else() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(1);
    let arrived = sink(&lab);
    let mut kernel = budgets(&lab);
    for (number, to) in [(17, v4(0)), (18, v6(0))] {
        kernel.change(&[hourly(number, LIMIT, 0), hourly(number + 100, LIMIT, LIMIT)], &[]).unwrap();
        let mut stream = open(&lab, to, number).unwrap();
        assert!((20_000..=21_000).contains(&push(&mut stream, 20_000, &arrived)));
        let used = kernel.read().unwrap()[&number].hour.unwrap().used;
        assert!((20_000..LIMIT / 2).contains(&used), "{used}");
        let more = push(&mut stream, 1 << 20, &arrived);
        assert!((LIMIT / 2..=LIMIT - 20_000).contains(&more), "{more} more");
        for mut kernel in [budgets(&lab), budgets(&lab)] {
            assert_eq!(kernel.read().unwrap()[&number], hourly(number, LIMIT, LIMIT));
        }
        assert!(open(&lab, to, number).is_none(), "a new connection is no new budget");
        for other in [0, number + 1] {
            let mut stream = open(&lab, to, other).unwrap();
            assert_eq!(push(&mut stream, 1 << 20, &arrived), 1 << 20, "priority {other}");
        }
        // Another budget changes, this one stays as it is.
        kernel.change(&[hourly(number + 100, LIMIT, 0)], &[number + 200]).unwrap();
        assert!(open(&lab, to, number).is_none());
        assert!(open(&lab, to, number + 100).is_some());
        // A new hour.
        kernel.change(&[hourly(number, 100 * LIMIT, 0)], &[]).unwrap();
        let before = arrived.load(Ordering::Relaxed);
        // The sender waits longer and longer before it tries again.
        let comes = || eventually(|| arrived.load(Ordering::Relaxed) > before);
        assert!((0..6).any(|_| comes()), "the rest comes");
        assert!(open(&lab, to, number).is_some());
        kernel.change(&[hourly(number, LIMIT, LIMIT + 1)], &[]).unwrap();
        assert!(open(&lab, to, number).is_none(), "more used than allowed");
        kernel.change(&[], &[number]).unwrap();
        assert!(open(&lab, to, number).is_some(), "no budget");
    }
    kernel.change(&[hourly(17, 0, 0)], &[]).unwrap();
    assert!(open(&lab, v4(0), 17).is_none());
    kernel.uninstall().unwrap();
    assert!(open(&lab, v4(0), 17).is_some());
}

#[test]
fn kernel_budget_holds_for_hour_and_day_and_leaves_no_priority() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(1);
    let arrived = sink(&lab);
    let mut kernel = budgets(&lab);
    let of_both = Budget { number: 17, hour: window(100 * LIMIT, 5), day: window(10 * LIMIT, 9 * LIMIT) };
    let unlimited = Budget { number: 19, hour: None, day: None };
    kernel.change(&[of_both, unlimited], &[]).unwrap();
    let nft = Command::new("nft").arg("--version").output().is_ok();
    if nft {
        lab.node.must(
            "nft add table inet later
             nft add chain inet later out { type filter hook output priority 0 \\; }
             nft add rule inet later out meta priority 0:11 counter comment of_budget
             nft add rule inet later out meta priority 0:5 counter comment of_other",
        );
    } else {
        eprintln!("SKIPPED: nft is not installed, so what later hooks see is not looked at");
    }
    let mut stream = open(&lab, v4(0), 17).unwrap();
    let sent = push(&mut stream, 1 << 20, &arrived);
    assert!((LIMIT / 2..=LIMIT).contains(&sent), "{sent}");
    drop(open(&lab, v4(0), 5).unwrap());
    if nft {
        let seen = lab.node.must("nft list table inet later");
        let unseen = |what: &str| seen.lines().any(|line| line.contains(what) && line.contains("packets 0 "));
        assert!(unseen("of_budget") && !unseen("of_other"), "{seen}");
        let listed = lab.node.must("nft list table inet cofferdam_budget");
        assert!(listed.contains("quota over"), "{listed}");
    }
    let read = kernel.read().unwrap();
    let of_hour = read[&17].hour.unwrap();
    assert!(of_hour.limit == 100 * LIMIT && of_hour.used > LIMIT / 2, "{read:?}");
    assert_eq!(read[&17].day, window(10 * LIMIT, 10 * LIMIT));
    assert_eq!(read[&19], unlimited);
    let of_both = Budget { day: window(100 * LIMIT, 0), hour: window(LIMIT, LIMIT), ..of_both };
    kernel.change(&[of_both], &[]).unwrap();
    assert!(open(&lab, v4(0), 17).is_none());
    assert_eq!(kernel.read().unwrap()[&17], of_both, "what the hour drops does not count for the day");
}

#[test]
fn kernel_budgets_are_read_back_as_they_were_set() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(0);
    let mut kernel = budgets(&lab);
    assert_eq!(kernel.read().unwrap(), BTreeMap::new());
    kernel.change(&[], &[16]).unwrap();
    kernel.uninstall().unwrap();
    // Of another version.
    lab.node.must("nft add table inet cofferdam_budget || true");
    let mut kernel = budgets(&lab);
    assert_eq!(kernel.read().unwrap(), BTreeMap::new());
    let high = u64::try_from(i64::MAX).unwrap();
    let mut all: BTreeMap<u32, Budget> = (0..3000_u32)
        .map(|i| {
            let (number, i) = (Budget::FIRST + i * 700_001, u64::from(i));
            let hour = (i % 3 > 0).then_some(Window { limit: i * 1000, used: i });
            let day = (i % 4 > 0).then_some(Window { limit: high - i, used: high - 2 * i });
            (number, Budget { number, hour, day })
        })
        .collect();
    let listed: Vec<Budget> = all.values().copied().collect();
    kernel.change(&listed, &[]).unwrap();
    drop(kernel);
    let mut kernel = budgets(&lab);
    assert_eq!(kernel.read().unwrap(), all);
    // A second time, out of order, and some twice; what is removed is removed also where it was not there.
    let again: Vec<Budget> = listed.iter().rev().chain(&listed[..10]).copied().collect();
    let gone: Vec<u32> = all.keys().copied().filter(|number| number % 5 == 0).chain([77, 77]).collect();
    kernel.change(&again, &gone).unwrap();
    assert_eq!(kernel.read().unwrap(), all, "a number in both is set");
    kernel.change(&[hourly(20, 7, 9)], &gone).unwrap();
    all.retain(|number, _| !gone.contains(number));
    all.insert(20, hourly(20, 7, 7));
    assert_eq!(kernel.read().unwrap(), all);
    for (bad, number) in [(hourly(15, 1, 0), 15), (hourly(0, 1, 0), 0)] {
        assert_eq!(kernel.change(&[hourly(20, 1, 0), bad], &[16]), Err(ApplyError::Number { number }));
    }
    assert!(kernel.change(&[hourly(20, 1, 0), hourly(21, high + 1, 0)], &[16]).is_err());
    assert_eq!(kernel.read().unwrap(), all, "nothing changed");
    kernel.uninstall().unwrap();
    kernel.uninstall().unwrap();
    assert_eq!(kernel.read().unwrap(), BTreeMap::new());
}

#[test]
fn kernel_budgets_are_read_whole_while_the_kernel_resizes_its_tables() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(0);
    let mut kernel = budgets(&lab);
    let numbers = |step| (Budget::FIRST..20_000).step_by(step);
    let all: Vec<Budget> = numbers(1).map(|number| hourly(number, 9, 1)).collect();
    let few: BTreeSet<u32> = numbers(7).collect();
    let gone: Vec<u32> = numbers(1).filter(|number| !few.contains(number)).collect();
    for round in 0..5 {
        kernel.change(&all, &[]).unwrap();
        let read = kernel.read().unwrap();
        assert!(read.keys().copied().eq(numbers(1)), "round {round}: {} of {}", read.len(), all.len());
        assert!(read.values().all(|budget| budget.hour.is_some()), "round {round}");
        kernel.change(&[], &gone).unwrap();
        let read = kernel.read().unwrap();
        assert!(read.keys().eq(&few), "round {round}: {} of {}", read.len(), few.len());
        assert!(read.values().all(|budget| budget.hour.is_some()), "round {round}");
    }
}
