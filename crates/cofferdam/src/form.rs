//! In which form commands that list something show it, and in which zone its times are.
//!
//! Enters: rows, each as cells and as JSON. Leaves: a table, one JSON array, one JSON object per line, or values between commas.
//! Guarantees: text from records cannot steer the terminal or become a formula; an array is whole whenever the command ends as
//! it should. Does not: change what programs read: times in JSON are always UTC.

use crate::environment::{NO_COLOR, TZ};
use crate::plain::printable;
use crate::room;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use observe::Time;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Where systems keep the rules of zones.
const ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];
/// Largest file of a zone that is read.
const ZONE_BYTES: u64 = 1 << 20;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    #[default]
    Table,
    /// One array
    Json,
    /// One object per line
    Jsonl,
    /// Values between commas, below a line of names, as spreadsheets read them
    Csv,
}

/// The form, besides its short names `--json` and `--csv`, which commands have beside these.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FormArgs {
    /// As what it is written
    #[arg(long, short = 'o', value_name = "FORM", conflicts_with = "json")]
    pub(crate) output: Option<Output>,
    /// Zone of times in tables and CSV: utc, local, an offset such as +02:00, or a name such as Europe/Berlin; in JSON they are UTC
    #[arg(long, value_name = "ZONE", default_value = "utc", value_parser = Zone::read, allow_hyphen_values = true)]
    pub(crate) zone: Zone,
}

impl FormArgs {
    /// The form that is asked for.
    pub(crate) fn output(&self, is_json: bool) -> Output {
        match (self.output, is_json) {
            (Some(output), _) => output,
            (None, true) => Output::Jsonl,
            (None, false) => Output::Table,
        }
    }

    /// How times are shown in it.
    pub(crate) fn clock(&self, output: Output) -> Clock {
        Clock { zone: self.zone.clone(), has_date: output == Output::Csv }
    }
}

/// Where clocks are as those who read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone(Option<TimeZone>);

impl Zone {
    /// Reads what somebody wrote.
    fn read(text: &str) -> Result<Self, String> {
        let zone = match text {
            "utc" | "UTC" | "Z" => return Ok(Self(None)),
            "local" => match TZ.value() {
                Some(name) => return Self::read(name.trim_start_matches(':')),
                None => of_file("local", Path::new("/etc/localtime"))?,
            },
            _ if text.starts_with(['+', '-']) => TimeZone::fixed(offset(text)?),
            _ => named(text)?,
        };
        Ok(Self(Some(zone)))
    }
}

/// `+02:00`, `-0330` or `+5`.
fn offset(text: &str) -> Result<Offset, String> {
    let wrong = || format!("{text:?} is no offset: write it like +02:00");
    let (sign, digits) = text.split_at_checked(1).ok_or_else(wrong)?;
    let digits = digits.replace(':', "");
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let (hours, minutes) = digits.split_at(if digits.len() > 2 { digits.len() - 2 } else { digits.len() });
    let number = |part: &str| if part.is_empty() { Ok(0) } else { part.parse::<i64>().map_err(|_| wrong()) };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if minutes > 59 {
        return Err(wrong());
    }
    let seconds = (hours * 60 + minutes) * 60 * if sign == "-" { -1 } else { 1 };
    Offset::try_from(SignedDuration::from_secs(seconds)).map_err(|_| wrong())
}

fn named(text: &str) -> Result<TimeZone, String> {
    let is_name = !text.is_empty()
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-.".contains(&byte));
    let places = ZONES.map(|folder| PathBuf::from(folder).join(text));
    match places.iter().find(|path| is_name && path.is_file()) {
        Some(path) => of_file(text, path),
        None => Err(format!(
            "there is no zone {text:?} on this machine: use utc, local, +02:00 or a name of /usr/share/zoneinfo"
        )),
    }
}

fn of_file(name: &str, path: &Path) -> Result<TimeZone, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let length = fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if length > ZONE_BYTES {
        return Err(wrong(&"too large for the rules of a zone"));
    }
    let rules = fs::read(path).map_err(|error| wrong(&error))?;
    TimeZone::tzif(name, &rules).map_err(|error| wrong(&error))
}

/// How times are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    zone: Zone,
    /// Whether the date is shown as well.
    has_date: bool,
}

impl Clock {
    /// The same, always with the date.
    pub(crate) fn dated(&self) -> Self {
        Self { zone: self.zone.clone(), has_date: true }
    }

    /// The time as text.
    pub(crate) fn show(&self, time: Time) -> String {
        let zoned = self.zone.0.as_ref().and_then(|zone| {
            let stamp = Timestamp::from_microsecond(i64::try_from(time.0).ok()?).ok()?;
            Some(stamp.to_zoned(zone.clone()))
        });
        match (zoned, self.has_date) {
            (Some(zoned), true) => zoned.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string(),
            (Some(zoned), false) => zoned.strftime("%H:%M:%S.%3f").to_string(),
            (None, true) => time.to_string(),
            (None, false) => time.clock(),
        }
    }
}

/// A value between commas (RFC 4180). Names come from the wire: none may become a formula.
pub(crate) fn csv(cell: &str) -> String {
    let guard = if cell.len() > 1 && cell.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    } else {
        format!("{guard}{cell}")
    }
}

/// Rows of a table that ends by which its columns are made as wide as they must be; those after these may make them wider.
const MEASURED: usize = 500;

/// Rows as they come, in one of the forms.
pub(crate) struct Sheet<'w, W: Write> {
    out: &'w mut W,
    output: Output,
    clock: Clock,
    heads: Vec<&'static str>,
    widths: Vec<usize>,
    rows: u64,
    /// The first lines of a table, and which were denied, until the widths of columns are known.
    held: Option<Vec<(Vec<String>, bool)>>,
    /// Whether each row is handed on at once.
    is_live: bool,
    has_colours: bool,
    /// Width of the terminal that a table is written to.
    room: Option<usize>,
}

impl<'w, W: Write> Sheet<'w, W> {
    /// One with these heads, and columns at least so wide.
    ///
    /// # Errors
    /// What never ends is no array.
    pub(crate) fn new(
        out: &'w mut W,
        form: &FormArgs,
        (is_json, is_live): (bool, bool),
        heads: Vec<&'static str>,
        mut widths: Vec<usize>,
    ) -> Result<Self> {
        let output = form.output(is_json);
        if output == Output::Json && is_live {
            bail!("with --follow an array would never end: use -o jsonl");
        }
        let has_colours =
            output == Output::Table && std::io::stdout().is_terminal() && NO_COLOR.value().is_none();
        let room = room::width().filter(|_| output == Output::Table);
        let clock = form.clock(output);
        let held = (output == Output::Table && !is_live).then(Vec::new);
        if room.is_some() && held.is_some() {
            // Room is scarce, and how wide columns must be is known before the first row is shown.
            widths.fill(0);
        }
        Ok(Self { out, output, clock, heads, widths, rows: 0, held, is_live, has_colours, room })
    }

    /// One more. `cells` are asked for only where they are shown; what was denied stands out on a terminal.
    pub(crate) fn row(
        &mut self,
        is_denied: bool,
        cells: impl FnOnce(&Clock) -> Vec<String>,
        json: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        match self.output {
            Output::Json => {
                let before = if self.rows == 0 { "[" } else { "," };
                write!(self.out, "{before}{}", json()?)?;
            }
            Output::Jsonl => writeln!(self.out, "{}", json()?)?,
            Output::Csv | Output::Table => {
                if self.rows == 0 {
                    let heads = self.heads.iter().map(ToString::to_string).collect();
                    self.line(heads, false)?;
                }
                self.line(cells(&self.clock), is_denied)?;
            }
        }
        self.rows += 1;
        self.handed_on()
    }

    fn line(&mut self, cells: Vec<String>, is_denied: bool) -> Result<()> {
        let cells: Vec<String> = cells.iter().map(|cell| printable(cell)).collect();
        if self.output == Output::Csv {
            let cells: Vec<String> = cells.iter().map(|cell| csv(cell)).collect();
            writeln!(self.out, "{}", cells.join(","))?;
            return Ok(());
        }
        self.widths.resize(cells.len(), 0);
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = (*width).max(cell.chars().count());
        }
        let Some(held) = &mut self.held else { return self.put(&cells, is_denied) };
        held.push((cells, is_denied));
        if held.len() > MEASURED { self.measured() } else { Ok(()) }
    }

    /// Writes what is held: from here on rows go out as they come.
    fn measured(&mut self) -> Result<()> {
        let held = self.held.take().unwrap_or_default();
        held.iter().try_for_each(|(cells, is_denied)| self.put(cells, *is_denied))
    }

    fn put(&mut self, cells: &[String], is_denied: bool) -> Result<()> {
        let text = room::row(cells, &self.widths, self.room);
        match self.has_colours && is_denied {
            true => writeln!(self.out, "\x1b[31m{text}\x1b[0m")?,
            false => writeln!(self.out, "{text}")?,
        }
        Ok(())
    }

    /// Something that is no row, where it belongs among them.
    pub(crate) fn missed(&mut self, count: u64, what: &str) -> Result<()> {
        match self.output {
            Output::Json => {
                let before = if self.rows == 0 { "[" } else { "," };
                write!(self.out, "{before}{{\"missed\":{count}}}")?;
                self.rows += 1;
            }
            Output::Jsonl => writeln!(self.out, "{{\"missed\":{count}}}")?,
            Output::Table => {
                self.measured()?;
                writeln!(self.out, "... {count} {what} were evicted before they could be read")?;
            }
            // No row of values; who reads the file finds only rows in it.
            Output::Csv => {
                writeln!(std::io::stderr(), "... {count} {what} were evicted before they could be read")?;
            }
        }
        self.handed_on()
    }

    fn handed_on(&mut self) -> Result<()> {
        if self.is_live {
            self.out.flush()?;
        }
        Ok(())
    }

    /// There are no more. Who reads a table and was shown none is told, beside it: programs that read columns find nothing.
    pub(crate) fn end(mut self) -> Result<()> {
        self.measured()?;
        match (self.output, self.rows) {
            (Output::Json, 0) => writeln!(self.out, "[]")?,
            (Output::Json, _) => writeln!(self.out, "]")?,
            (Output::Csv, 0) => writeln!(self.out, "{}", self.heads.join(","))?,
            (Output::Table, 0) => writeln!(std::io::stderr(), "there are none that match")?,
            (Output::Table | Output::Jsonl | Output::Csv, _) => {}
        }
        Ok(())
    }
}

/// What came before an error is shown, too.
impl<W: Write> Drop for Sheet<'_, W> {
    fn drop(&mut self) {
        let _nobody_reads = self.measured();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: Time = Time(1_795_468_027_000_042);

    #[test]
    fn times_are_shown_in_the_zone_that_is_asked_for() {
        let shown = |zone: &str, has_date| Clock { zone: Zone::read(zone).unwrap(), has_date }.show(WHEN);
        for (zone, clock, whole) in [
            ("utc", "21:07:07.000", "2026-11-23T21:07:07.000042Z"),
            ("+02:00", "23:07:07.000", "2026-11-23T23:07:07.000042+02:00"),
            ("-0330", "17:37:07.000", "2026-11-23T17:37:07.000042-03:30"),
            ("+5", "02:07:07.000", "2026-11-24T02:07:07.000042+05:00"),
        ] {
            assert_eq!((shown(zone, false).as_str(), shown(zone, true).as_str()), (clock, whole));
        }
        if Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            assert_eq!(shown("Europe/Berlin", true), "2026-11-23T22:07:07.000042+01:00");
            let summer = Clock { zone: Zone::read("Europe/Berlin").unwrap(), has_date: false };
            assert_eq!(summer.show("2026-07-01T12:00:00Z".parse().unwrap()), "14:00:00.000");
        }
    }

    #[test]
    fn what_is_no_zone_is_refused_and_no_file_beside_the_zones_is_read() {
        for text in [
            "",
            "Mars/Olympus",
            "../../../etc/passwd",
            "/etc/localtime",
            "+",
            "+99:00",
            "+02:60",
            "+12345",
            "-x",
        ] {
            assert!(Zone::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_between_commas_are_read_as_they_were_and_never_as_formulas() {
        for (cell, written) in [
            ("prod/web", "prod/web"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("=HYPERLINK(\"http://evil.example\")", "\"'=HYPERLINK(\"\"http://evil.example\"\")\""),
            ("@cmd", "'@cmd"),
            ("-", "-"),
        ] {
            assert_eq!(csv(cell), written);
        }
    }

    fn written(output: Output, rows: &[&str]) -> String {
        let mut out = Vec::new();
        let form = FormArgs { output: Some(output), ..FormArgs::default() };
        let mut sheet =
            Sheet::new(&mut out, &form, (false, false), vec!["TIME", "NAME"], vec![12, 0]).unwrap();
        for row in rows {
            let cells = |clock: &Clock| vec![clock.show(WHEN), (*row).to_owned()];
            sheet.row(false, cells, || Ok(format!("{{\"name\":{row:?}}}"))).unwrap();
        }
        sheet.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_rows_come_in_each_form_and_none_at_all_are_whole_too() {
        for (output, rows, text) in [
            (Output::Table, &["a", "b"][..], "TIME          NAME\n21:07:07.000  a\n21:07:07.000  b\n"),
            (Output::Json, &["a", "b"], "[{\"name\":\"a\"},{\"name\":\"b\"}]\n"),
            (Output::Jsonl, &["a", "b"], "{\"name\":\"a\"}\n{\"name\":\"b\"}\n"),
            (Output::Csv, &["a,b"], "TIME,NAME\n2026-11-23T21:07:07.000042Z,\"a,b\"\n"),
            (Output::Table, &[], ""),
            (Output::Json, &[], "[]\n"),
            (Output::Jsonl, &[], ""),
            (Output::Csv, &[], "TIME,NAME\n"),
        ] {
            assert_eq!(written(output, rows), text, "{output:?}");
        }
    }

    #[test]
    fn columns_of_a_table_that_ends_fit_all_that_is_in_them() {
        let shown = |is_live, rows: usize, ends: bool| {
            let mut out = Vec::new();
            let mut sheet =
                Sheet::new(&mut out, &FormArgs::default(), (false, is_live), vec!["A", "B"], vec![1, 0])
                    .unwrap();
            for row in 0..rows {
                let cells = |_: &Clock| vec!["x".repeat(row + 1), "y".to_owned()];
                sheet.row(false, cells, || Ok(String::new())).unwrap();
            }
            if ends {
                sheet.end().unwrap();
            } else {
                drop(sheet);
            }
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(false, 2, true), "A   B\nx   y\nxx  y\n");
        assert_eq!(shown(false, 2, false), shown(false, 2, true), "also what came before an error");
        assert_eq!(shown(true, 2, false), "A  B\nx  y\nxx  y\n", "who follows waits for nothing");
        assert_eq!(shown(false, MEASURED * 2, true).lines().count(), 1 + MEASURED * 2);
    }

    #[test]
    fn an_array_that_would_never_end_is_refused() {
        let form = FormArgs { output: Some(Output::Json), ..FormArgs::default() };
        assert!(Sheet::new(&mut Vec::new(), &form, (false, true), vec![], vec![]).is_err());
    }
}
