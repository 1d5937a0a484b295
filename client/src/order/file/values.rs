//! Single values of the file, each of one type.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use crate::yaml::{Node, Reader, ScalarKind, Section, Text, Value, nearest};

/// Returns a scalar and its type. A section or a list, which may hold anything, is a problem.
pub(super) fn scalar(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    allowed: &str,
) -> Option<(Text, ScalarKind)> {
    let node = section.get(reader, key)?;
    let found = scalar_of(node);
    if found.is_none() {
        wrong_shape(reader, &section.key(key), node, allowed);
    }
    found
}

/// Returns the scalar of a node, with its type.
pub(super) fn scalar_of(node: &Node) -> Option<(Text, ScalarKind)> {
    let Value::Scalar(scalar) = &node.value else {
        return None;
    };
    let text = Text {
        value: scalar.text.clone(),
        place: node.place,
    };
    Some((text, scalar.kind()))
}

/// Records a value of another type, without the value: it may be a secret at the wrong place.
pub(super) fn wrong_shape(reader: &mut Reader, key: &str, node: &Node, allowed: &str) {
    reader.problem(
        node.place,
        format!("`{key}` is {}; allowed: {allowed}", node.shape()),
    );
}

/// Reads text.
pub(super) fn text(reader: &mut Reader, section: &Section<'_>, key: &str, allowed: &str) -> Option<Text> {
    let (text, kind) = scalar(reader, section, key, allowed)?;
    if kind == ScalarKind::Text {
        return Some(text);
    }
    reader.bad(
        &section.key(key),
        &text,
        format_args!("{allowed}, as text; write it in quotes"),
    );
    None
}

/// Reads text in a form that `parse` knows, whose error says what is wrong and what is allowed.
pub(super) fn parsed<T, E: Display>(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    allowed: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = text(reader, section, key, allowed)?;
    read_as(reader, &section.key(key), &text, parse)
}

/// Reads a number, with or without a decimal point, or text, in a form that `parse` knows.
pub(super) fn amount<T, E: Display>(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    allowed: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let (text, kind) = scalar(reader, section, key, allowed)?;
    if matches!(kind, ScalarKind::Boolean(_)) {
        reader.bad(&section.key(key), &text, allowed);
        return None;
    }
    read_as(reader, &section.key(key), &text, parse)
}

/// Reads a scalar with `parse`, whose error says what is wrong and what is allowed.
pub(super) fn read_as<T, E: Display>(
    reader: &mut Reader,
    key: &str,
    text: &Text,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    match parse(&text.value) {
        Ok(value) => Some(value),
        Err(error) => {
            reader.problem(text.place, format!("`{key}`: {error}"));
            None
        }
    }
}

/// Reads a whole number in a range.
pub(super) fn integer<N>(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    range: RangeInclusive<N>,
) -> Option<N>
where
    N: FromStr + PartialOrd + Display + Copy,
{
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    let (text, kind) = scalar(reader, section, key, &allowed)?;
    let number = (kind == ScalarKind::Integer)
        .then(|| text.value.parse::<N>().ok())
        .flatten()
        .filter(|number| range.contains(number));
    if number.is_none() {
        reader.bad(&section.key(key), &text, allowed);
    }
    number
}

/// Reads `true` or `false`.
pub(super) fn boolean(reader: &mut Reader, section: &Section<'_>, key: &str) -> Option<bool> {
    let (text, kind) = scalar(reader, section, key, "true or false")?;
    if let ScalarKind::Boolean(value) = kind {
        return Some(value);
    }
    reader.bad(&section.key(key), &text, "true or false");
    None
}

/// Reads one of several words.
pub(super) fn word<T: Copy>(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    words: &[(&str, T)],
) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let allowed = names.join(", ");
    let (text, _) = scalar(reader, section, key, &allowed)?;
    let found = words.iter().find(|(name, _)| *name == text.value);
    if found.is_none() {
        let meant = nearest(&text.value, names)
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        reader.bad(&section.key(key), &text, format_args!("{allowed}{meant}"));
    }
    found.map(|(_, value)| *value)
}

/// Reads a list; empty where the key is missing.
pub(super) fn list<'a>(reader: &mut Reader, section: &Section<'a>, key: &str, allowed: &str) -> &'a [Node] {
    let Some(node) = section.get(reader, key) else {
        return &[];
    };
    let Value::List(items) = &node.value else {
        wrong_shape(reader, &section.key(key), node, allowed);
        return &[];
    };
    items
}

/// Reads a list of scalars, each as it is written; empty where the key is missing.
pub(super) fn strings(reader: &mut Reader, section: &Section<'_>, key: &str, allowed: &str) -> Vec<Text> {
    let name = section.key(key);
    let mut strings = Vec::new();
    for item in list(reader, section, key, allowed) {
        match scalar_of(item) {
            Some((text, kind)) if kind != ScalarKind::Null => strings.push(text),
            _ => wrong_shape(reader, &name, item, allowed),
        }
    }
    strings
}
