//! Values of expressions, and values of JSON as such.
//!
//! Enters: JSON, by `serde`. Guarantees: an object with a key twice is none; whole numbers are `int` where they fit, else
//! `uint`, all others `double`; a number beyond these is none. Cloning a value copies nothing.

use super::check::Type;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `double`
    Double(f64),
    /// `string`
    String(Arc<str>),
    /// `bytes`
    Bytes(Arc<[u8]>),
    /// `list`
    List(Arc<[Value]>),
    /// `map`
    Map(Arc<Map>),
}

// Values that are kept are of JSON, where every number equals itself.
impl Eq for Value {}

/// A map by its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub(super) BTreeMap<Key, Value>);

/// A key of a map. Numbers that are equal are one key, whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Number(i128),
    String(Arc<str>),
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::String(text.into())
    }

    /// Its type.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::List,
            Self::Map(_) => Type::Map,
        }
    }

    /// As a key of a map, if it can be one.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Bool(is) => Some(Key::Bool(*is)),
            Self::Int(number) => Some(Key::Number(i128::from(*number))),
            Self::Uint(number) => Some(Key::Number(i128::from(*number))),
            Self::Double(number) => whole(*number).map(Key::Number),
            Self::String(text) => Some(Key::String(text.clone())),
            Self::Null | Self::Bytes(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Which of two is the smaller; the outer `None`: they cannot be compared, the inner: one is no number.
    pub(super) fn order(&self, other: &Self) -> Option<Option<Ordering>> {
        Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => number_order(b.whole()?, *a).map(Ordering::reverse),
            (a, Self::Double(b)) => number_order(a.whole()?, *b),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        })
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            Self::Null
            | Self::Bool(_)
            | Self::Double(_)
            | Self::String(_)
            | Self::Bytes(_)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }
}

impl Key {
    /// The key as a value.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(is) => Value::Bool(*is),
            Self::String(text) => Value::String(text.clone()),
            Self::Number(number) => match i64::try_from(*number) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Uint(u64::try_from(*number).unwrap_or(u64::MAX)),
            },
        }
    }
}

/// Numbers that 128 bits hold without doubt.
const FAR: f64 = 1e30;

#[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and is far from the bounds")]
fn whole(number: f64) -> Option<i128> {
    (number.abs() < FAR && number.fract() == 0.0).then_some(number as i128)
}

/// A whole number beside any.
fn number_order(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= FAR {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = whole(b.floor())?;
    let fraction = if b.fract() == 0.0 { Ordering::Equal } else { Ordering::Less };
    Some(a.cmp(&floor).then(fraction))
}

impl Map {
    /// What is under a text.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(&Key::String(key.into()))
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has a key that readers who do not mind case take for this one.
    pub(super) fn has_alike(&self, key: &str) -> bool {
        let is_alike = |known: &Key| match known {
            Key::String(known) => **known != *key && folded(known).eq(folded(key)),
            Key::Bool(_) | Key::Number(_) => false,
        };
        self.0.keys().any(is_alike)
    }
}

/// As readers see it that do not mind case; for some the long s and the Kelvin sign are letters too.
fn folded(key: &str) -> impl Iterator<Item = char> + '_ {
    key.chars().map(|character| match character {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfJson)
    }
}

struct OfJson;

impl<'de> Visitor<'de> for OfJson {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Uint(number), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            let key = Key::String(key.as_ref().into());
            if map.insert(key, entries.next_value()?).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(Value::Map(Arc::new(Map(map))))
    }
}
