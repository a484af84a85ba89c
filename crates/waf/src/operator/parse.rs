//! The second word of a rule to an operator.

use super::{Operator, Phrases, Test, address, encoding, number, text, verify};
use crate::literal;
use crate::pattern::{self, backtrack};
use crate::template::Template;

/// Finds the bytes of a file that an operator names.
pub(crate) type Data<'a> = dyn Fn(&str) -> Option<&'a [u8]> + 'a;

/// A test, and sets of literals of which one each is in every value that it says yes to.
type Parsed = (Test, Vec<literal::Set>);

/// Operators that need what this engine must not have: a network, a disk, a program.
const IMPOSSIBLE: [&str; 6] =
    ["inspectFile", "fuzzyHash", "gsbLookup", "rsub", "validateDTD", "validateSchema"];

/// Reads `!@operator argument`; without an operator it is a pattern.
///
/// # Errors
/// Says what is not known or not right.
pub(crate) fn parse(written: &[u8], data: &Data<'_>) -> Result<Operator, String> {
    let trimmed = written.trim_ascii_start();
    let (negated, rest) = match trimmed.strip_prefix(b"!") {
        Some(rest) if rest.trim_ascii_start().starts_with(b"@") => (true, rest.trim_ascii_start()),
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let (name, argument) = match rest.strip_prefix(b"@") {
        None => ("rx".to_owned(), if negated { rest } else { written }),
        Some(rest) => {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            let (name, argument) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            (String::from_utf8_lossy(name).into_owned(), argument.get(1..).unwrap_or_default())
        }
    };
    let (test, literals) = test(&name, argument, data)?;
    Ok(Operator { negated, test, literals })
}

fn test(name: &str, argument: &[u8], data: &Data<'_>) -> Result<Parsed, String> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    let trimmed = argument.trim_ascii();
    if is("rx") || is("rxGlobal") {
        return patterns(argument, is("rxGlobal"));
    }
    if is("pm") || is("pmFromFile") || is("pmf") {
        let phrases =
            if is("pm") { Phrases::of_words(trimmed)? } else { Phrases::of_lines(&read(trimmed, data)?)? };
        let literals = phrases.literals().into_iter().collect();
        return Ok((Test::Phrases(phrases), literals));
    }
    if let Some(relation) = text::Relation::parse(name) {
        return Ok((Test::Text(relation, Template::parse(argument)?), Vec::new()));
    }
    if let Some(relation) = number::Relation::parse(name) {
        return Ok((Test::Number(relation, Template::parse(trimmed)?), Vec::new()));
    }
    if let Some(kind) = verify::Kind::parse(name) {
        return Ok((Test::Digits(kind, pattern::compile(argument, false)?.regex), Vec::new()));
    }
    if is("ipMatch") || is("ipMatchFromFile") || is("ipMatchF") {
        let list = if is("ipMatch") { trimmed.to_vec() } else { read(trimmed, data)? };
        return Ok((Test::Addresses(address::parse(&list)?), Vec::new()));
    }
    let simple = if is("unconditionalMatch") {
        Test::Always
    } else if is("noMatch") {
        Test::Never
    } else if is("validateByteRange") {
        Test::ByteRange(encoding::range(trimmed)?)
    } else if is("validateUrlEncoding") {
        Test::UrlEncoding
    } else if is("validateUtf8Encoding") {
        Test::Utf8Encoding
    } else if is("detectSQLi") {
        Test::Sqli
    } else if is("detectXSS") {
        Test::Xss
    } else if is("geoLookup") {
        Test::Missing("geoLookup")
    } else if is("rbl") {
        Test::Missing("rbl")
    } else if IMPOSSIBLE.iter().any(|known| is(known)) {
        return Err(format!(
            "operator @{name} needs a network or a disk, which this engine has not; remove the rule"
        ));
    } else {
        return Err(format!(
            "operator @{name} is not known here; see docs/reference/waf.md for those that are"
        ));
    };
    Ok((simple, Vec::new()))
}

fn patterns(argument: &[u8], each: bool) -> Result<Parsed, String> {
    let template = Template::parse(argument);
    // A brace behind a percent sign may be part of a pattern; only what names a variable is one.
    if let Ok(template) = template
        && template.constant().is_none()
        && !each
    {
        return Ok((Test::PatternOf(template), Vec::new()));
    }
    let compile = if each { pattern::compile } else { pattern::compile_loose };
    let compiled = match compile(argument, false) {
        Ok(compiled) => compiled,
        // Where the other engine has no reading either, the fault of the first is the one to know of.
        Err(fault) if !each => {
            return backtrack::compile(argument)
                .map(|program| (Test::Tried(None, program), Vec::new()))
                .map_err(|_| fault);
        }
        Err(fault) => return Err(fault),
    };
    let literals = literal::required(&compiled.tree);
    if compiled.loose {
        return Ok((Test::Tried(Some(compiled.regex), backtrack::compile(argument)?), literals));
    }
    Ok((if each { Test::EachPattern(compiled.regex) } else { Test::Pattern(compiled.regex) }, literals))
}

/// The files that an operator names, one behind the other.
fn read(names: &[u8], data: &Data<'_>) -> Result<Vec<u8>, String> {
    let names = String::from_utf8_lossy(names);
    let mut all = Vec::new();
    for name in names.split_ascii_whitespace() {
        let file = name.rsplit('/').next().unwrap_or(name);
        let bytes = data(name).or_else(|| data(file));
        all.extend_from_slice(
            bytes.ok_or_else(|| format!("data file {name} was not given; put it beside the rules"))?,
        );
        all.push(b'\n');
    }
    Ok(all)
}
