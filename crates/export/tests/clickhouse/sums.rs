//! The part of the suite that asks for sums: the largest, counts over time, who met whom.

use super::super::START;
use super::conforms::{SECOND, WINDOW, none, some};
use ledger::{BoundedStore, EntryFilter, Field, Measure, Pair, Point, Reader, SeriesBy, Store, TopBy};
use std::cmp::Reverse;
use std::collections::BTreeMap;

const FIELDS: [Field; 5] = [Field::Source, Field::Destination, Field::Rule, Field::Reason, Field::Node];

/// What a store counts in these steps, in one order.
fn counted(
    store: &dyn BoundedStore,
    filter: &EntryFilter,
    by: SeriesBy,
    step: u64,
    most: usize,
) -> Vec<Point> {
    let mut points = store.series(filter, by, step, most).unwrap();
    assert!(points.is_sorted_by_key(|point| point.step));
    points.sort_by(|one, other| (one.step, &one.of).cmp(&(other.step, &other.of)));
    points
}

/// Of how many words the most frequent can be told apart without any that is left out being as frequent.
fn tellable(points: &[Point]) -> Vec<usize> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    points.iter().for_each(|point| *sums.entry(&point.of).or_default() += point.count);
    let mut sums: Vec<u64> = sums.into_values().collect();
    sums.sort_unstable_by_key(|sum| Reverse(*sum));
    (1..sums.len()).filter(|most| sums[most - 1] > sums[*most]).collect()
}

pub(super) fn same_series(ledger: &Reader, other: &dyn BoundedStore) {
    let day = 24 * 3600 * SECOND;
    let mut told = 0;
    let filters = some().into_iter().chain(none()).chain([EntryFilter::default()]);
    // Each filter with one of the fields: all of them with all would take minutes.
    for (filter, field) in filters.zip(FIELDS.into_iter().cycle()) {
        for by in [SeriesBy::Verdict, SeriesBy::Kind] {
            let found = counted(ledger, &filter, by, 600 * SECOND, 10);
            assert_eq!(counted(other, &filter, by, 600 * SECOND, 10), found, "{by:?} {filter:?}");
        }
        let by = SeriesBy::Field(field);
        let all = counted(ledger, &filter, by, day, 100);
        assert_eq!(counted(other, &filter, by, day, 100), all, "{by:?} {filter:?}");
        if let Some(most) = tellable(&all).pop() {
            let few = counted(ledger, &filter, by, 7 * SECOND, most);
            assert_eq!(counted(other, &filter, by, 7 * SECOND, most), few, "{by:?} {most} {filter:?}");
            assert!(few.iter().any(|point| point.of == "(other)"), "{few:?}");
            told += 1;
        }
    }
    assert!(told > 20, "{told}");
}

/// Pairs in one order.
fn met(store: &dyn BoundedStore, filter: &EntryFilter, new_since: Option<u64>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    store.each_pair(filter, new_since, &mut |pair| pairs.push(pair)).unwrap();
    let key = |it: &Pair| (it.source.clone(), it.destination.clone(), it.port, it.protocol);
    pairs.sort_by_key(key);
    pairs
}

pub(super) fn same_pairs(ledger: &Reader, other: &dyn BoundedStore) {
    let middle = START + 100 * WINDOW + 100;
    let same = |filter: &EntryFilter, new_since: Option<u64>| {
        let found = met(ledger, filter, new_since);
        assert_eq!(met(other, filter, new_since), found, "{new_since:?} {filter:?}");
        found.len()
    };
    let mut all = 0;
    for filter in some().iter().chain(&none()) {
        all += same(filter, None);
    }
    let none = EntryFilter::default();
    let [whole, ever, new, later] =
        [None, Some(START), Some(middle), Some(u64::MAX)].map(|since| same(&none, since));
    assert!(
        all > whole && whole > ever && ever > new && new > 10 && later == 0,
        "{all} {whole} {ever} {new}"
    );
}

pub(super) fn same_sums(ledger: &Reader, other: &dyn Store) {
    for by in [TopBy::Source, TopBy::Destination, TopBy::Rule] {
        for measure in [Measure::Bytes, Measure::Count, Measure::Denied] {
            for (since, most) in [(0, 100), (0, 2), (START + 100 * WINDOW, 5), (0, usize::MAX)] {
                let found = Store::top(ledger, by, measure, since, most).unwrap();
                assert_eq!(
                    other.top(by, measure, since, most).unwrap(),
                    found,
                    "{by:?} {measure:?} {since} {most}"
                );
                assert!(found.len() > 1);
            }
        }
    }
}
