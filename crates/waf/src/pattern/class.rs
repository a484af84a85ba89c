//! Classes of a pattern, such as `[^a-z\d]`: read into a set of bytes and written in the one way that has no surprises.

use super::{Code, Reader};

/// Whether a byte is in a named set.
type Member = fn(u8) -> bool;

/// Names within `[:` and `:]`.
const POSIX: [(&str, Member); 14] = [
    ("alnum", |byte| byte.is_ascii_alphanumeric()),
    ("alpha", |byte| byte.is_ascii_alphabetic()),
    ("ascii", |byte| byte.is_ascii()),
    ("blank", |byte| matches!(byte, b' ' | b'\t')),
    ("cntrl", |byte| byte.is_ascii_control()),
    ("digit", |byte| byte.is_ascii_digit()),
    ("graph", |byte| byte.is_ascii_graphic()),
    ("lower", |byte| byte.is_ascii_lowercase()),
    ("print", |byte| matches!(byte, 0x20..=0x7e)),
    ("punct", |byte| byte.is_ascii_punctuation()),
    ("space", is_space),
    ("upper", |byte| byte.is_ascii_uppercase()),
    ("word", is_word),
    ("xdigit", |byte| byte.is_ascii_hexdigit()),
];

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// One part of a class.
enum Item {
    Byte(u8),
    Set(Box<dyn Fn(u8) -> bool>),
}

/// Reads the class behind an opening bracket and writes it as ranges of bytes.
pub(super) fn convert(reader: &mut Reader<'_>) -> Result<(), String> {
    let (negated, set) = read(reader)?;
    write(reader, negated, &set);
    Ok(())
}

/// Reads the class behind an opening bracket: whether it is negated, and the bytes that it names.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<(bool, [bool; 256]), String> {
    let negated = reader.eat(b"^");
    let mut set = [false; 256];
    let mut add = |wanted: &dyn Fn(u8) -> bool| {
        for (byte, slot) in (0_u8..=u8::MAX).zip(set.iter_mut()) {
            *slot |= wanted(byte);
        }
    };
    let mut first = true;
    while first || !reader.eat(b"]") {
        let from = match item(reader)? {
            Item::Set(wanted) => {
                add(&wanted);
                first = false;
                continue;
            }
            Item::Byte(byte) => byte,
        };
        first = false;
        if !reader.rest.starts_with(b"-") || reader.rest.starts_with(b"-]") {
            add(&|byte| byte == from);
            continue;
        }
        reader.eat(b"-");
        match item(reader)? {
            Item::Byte(to) if from <= to => add(&|byte| (from..=to).contains(&byte)),
            Item::Byte(to) => return Err(format!("pattern: range {from:#x}-{to:#x} is backwards")),
            Item::Set(wanted) => add(&|byte| byte == from || byte == b'-' || wanted(byte)),
        }
    }
    Ok((negated, set))
}

/// Ranges keep `[^` outside, so that ignoring case folds what the rule names and not its complement.
fn write(reader: &mut Reader<'_>, negated: bool, set: &[bool; 256]) {
    if set.iter().all(|member| *member) {
        reader.out.push_str(if negated { "[^\\x00-\\xff]" } else { "[\\x00-\\xff]" });
        return;
    }
    reader.out.push_str(if negated { "[^" } else { "[" });
    let mut open: Option<usize> = None;
    for (byte, member) in set.iter().copied().chain([false]).enumerate() {
        match (open, member) {
            (None, true) => open = Some(byte),
            (Some(from), false) => {
                reader.out.push_str(&format!("\\x{from:02x}-\\x{:02x}", byte - 1));
                open = None;
            }
            _ => {}
        }
    }
    reader.out.push(']');
}

fn item(reader: &mut Reader<'_>) -> Result<Item, String> {
    let Some(byte) = reader.next() else { return Err("pattern: a class is not closed".to_owned()) };
    if byte == b'[' && reader.rest.starts_with(b":") {
        return posix(reader);
    }
    if byte != b'\\' {
        return Ok(Item::Byte(byte));
    }
    let Some(escaped) = reader.next() else { return Err("pattern: a class is not closed".to_owned()) };
    let set = |wanted: fn(u8) -> bool| Ok(Item::Set(Box::new(wanted)));
    match escaped {
        b'd' => set(|byte| byte.is_ascii_digit()),
        b'D' => set(|byte| !byte.is_ascii_digit()),
        b'w' => set(is_word),
        b'W' => set(|byte| !is_word(byte)),
        b's' => set(is_space),
        b'S' => set(|byte| !is_space(byte)),
        b'h' => set(|byte| matches!(byte, b' ' | b'\t' | 0xa0)),
        b'v' => set(|byte| matches!(byte, b'\n'..=b'\r' | 0x85)),
        b'b' => Ok(Item::Byte(0x08)),
        other => match reader.code(other)? {
            Code::Byte(byte) => Ok(Item::Byte(byte)),
            Code::Character(c) => {
                Err(format!("pattern: U+{:04X} is more than a byte and cannot be in a class", u32::from(c)))
            }
        },
    }
}

fn posix(reader: &mut Reader<'_>) -> Result<Item, String> {
    let end = reader.rest.windows(2).position(|pair| pair == b":]");
    let Some(name) = end.and_then(|end| reader.rest.get(1..end)) else { return Ok(Item::Byte(b'[')) };
    let text = std::str::from_utf8(name).unwrap_or_default();
    let (negated, text) = text.strip_prefix('^').map_or((false, text), |text| (true, text));
    let Some((_, wanted)) = POSIX.iter().find(|(known, _)| *known == text) else {
        return Ok(Item::Byte(b'['));
    };
    reader.rest = reader.rest.get(name.len() + 3..).unwrap_or_default();
    Ok(Item::Set(Box::new(move |byte| wanted(byte) != negated)))
}
