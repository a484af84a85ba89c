//! Days and times of UTC as texts have them, in seconds since 1970.
//!
//! Enters: texts. Leaves: seconds, or `None` for what is no day or no time. Does not: know other offsets, or leap seconds.

const DAY: u64 = 24 * 3600;

/// The end of a day, written as `2026-12-31`.
pub(crate) fn end_of_day(text: &str) -> Option<u64> {
    const MONTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let is_formed = text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    let (year, month, day) = (digits(text, 0..4)?, digits(text, 5..7)?, digits(text, 8..10)?);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |at: u64| {
        let length = MONTHS.get(usize::try_from(at.checked_sub(1)?).ok()?)?;
        Some(length + u64::from(at == 2 && is_leap(year)))
    };
    if !is_formed || year < 1970 || day == 0 || day > length(month)? {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).filter_map(length).sum();
    Some((years + months + day) * DAY)
}

/// A time, written as `2026-12-31T18:00:00Z` (RFC 3339, of UTC). A second that has begun counts.
pub(crate) fn instant(text: &str) -> Option<u64> {
    let (day, time) = (text.get(..10)?, text.get(10..)?);
    let time = time.strip_prefix('T')?.strip_suffix('Z')?;
    let (time, parts) = time.split_once('.').unwrap_or((time, "0"));
    let is_formed = time.len() == 8
        && time.get(2..3) == Some(":")
        && time.get(5..6) == Some(":")
        && (1..=9).contains(&parts.len())
        && parts.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute, second) = (digits(time, 0..2)?, digits(time, 3..5)?, digits(time, 6..8)?);
    if !is_formed || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(
        end_of_day(day)? - DAY
            + hour * 3600
            + minute * 60
            + second
            + u64::from(parts.bytes().any(|it| it != b'0')),
    )
}

fn digits(text: &str, range: std::ops::Range<usize>) -> Option<u64> {
    let digits = text.get(range)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_end_where_the_calendar_says() {
        for (text, days) in
            [("1970-01-01", 1), ("1972-02-29", 790), ("2000-12-31", 11_323), ("2100-03-01", 47_542)]
        {
            assert_eq!(end_of_day(text), Some(days * 86_400), "{text}");
        }
        for text in [
            "",
            "1969-12-31",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2100-02-29",
            "2026-1-1",
            "２026-01",
            "+026-01-01",
        ] {
            assert_eq!(end_of_day(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_those_of_utc() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02T01:02:03.999Z", 86_400 + 3724),
            ("2026-12-31T18:00:00Z", 1_798_740_000),
        ] {
            assert_eq!(instant(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2026-12-31",
            "2026-12-31T18:00Z",
            "2026-12-31t18:00:00Z",
            "2026-12-31T24:00:00Z",
            "2026-12-31T18:00:60Z",
            "2026-12-31T18:00:00",
            "2026-12-31T18:00:00.Z",
            "2026-12-31T18:00:00+00:00",
            "2026-02-30T18:00:00Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
