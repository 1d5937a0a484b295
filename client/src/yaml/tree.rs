//! A whole YAML document with the place of each key and value.

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{Place, Problem, Reader, Text, nearest};
use crate::redaction;

/// Maximum length of a file, in bytes: as long as a sealed manifest, whose larger secrets lie in other files.
pub const MAX_BYTES: usize = 256 * 1_024;

/// Maximum number of sections and lists inside each other.
pub const MAX_DEPTH: usize = 8;

/// Maximum number of keys and values.
pub const MAX_NODES: usize = 8_192;

/// Value with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Place of its first character.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// Value of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Scalar.
    Scalar(Scalar),
    /// List.
    List(Vec<Node>),
    /// Keys with values. Each key is there once.
    Map(Vec<Entry>),
}

/// Key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: Text,
    /// The value.
    pub value: Node,
}

/// Scalar as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scalar {
    /// Its characters, without quotes.
    pub text: String,
    /// True where it is neither quoted nor a block of text, so that it may be something else than text.
    pub is_plain: bool,
}

/// Type of a scalar in YAML 1.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScalarKind {
    /// No value.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// Whole number.
    Integer,
    /// Number with a decimal point.
    Decimal,
    /// Text.
    Text,
}

impl Scalar {
    /// Returns the type. Numbers are decimal, without an exponent: other notations are text here.
    pub fn kind(&self) -> ScalarKind {
        if !self.is_plain {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
            "true" | "True" | "TRUE" => return ScalarKind::Boolean(true),
            "false" | "False" | "FALSE" => return ScalarKind::Boolean(false),
            _ => {}
        }
        let digits = self.text.strip_prefix(['-', '+']).unwrap_or(&self.text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            ScalarKind::Text
        } else if digits.contains('.') {
            ScalarKind::Decimal
        } else {
            ScalarKind::Integer
        }
    }
}

impl Node {
    /// Names the shape of the value, for an error message. The value itself may be a secret.
    pub fn shape(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a section",
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Null => "nothing",
                ScalarKind::Boolean(_) => "true or false",
                ScalarKind::Integer | ScalarKind::Decimal => "a number",
                ScalarKind::Text => "text",
            },
        }
    }

    /// Returns true where the value is missing.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind() == ScalarKind::Null)
    }
}

/// Section of a document: keys of which all are known.
#[derive(Debug)]
pub struct Section<'a> {
    name: &'a str,
    place: Place,
    entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// Reads a section that may have the keys `known`, and records every other key. `name` is empty for the
    /// document itself.
    pub fn read(reader: &mut Reader, name: &'a str, node: &'a Node, known: &[&str]) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let name = if name.is_empty() { "the file" } else { name };
            reader.problem(
                node.place,
                format!(
                    "`{name}` is {}; allowed: a section with the keys {}",
                    node.shape(),
                    known.join(", ")
                ),
            );
            return None;
        };
        for entry in entries {
            let key = entry.key.value.as_str();
            if known.contains(&key) {
                continue;
            }
            let shown: String = redaction::shown(key).chars().take(80).collect();
            let meant = nearest(key, known.iter().copied())
                .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            reader.problem(
                entry.key.place,
                format!("unknown key `{shown}`{meant}; allowed here: {}", known.join(", ")),
            );
        }
        Some(Self {
            name,
            place: node.place,
            entries,
        })
    }

    /// Returns the place of the section.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Returns the full name of a key.
    pub fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Returns the place of a key that is there.
    pub fn place_of(&self, key: &str) -> Option<Place> {
        self.entries
            .iter()
            .find(|entry| entry.key.value == key)
            .map(|entry| entry.key.place)
    }

    /// Returns the value of a key that is there, and records a key without a value.
    pub fn get(&self, reader: &mut Reader, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key.value == key)?;
        if entry.value.is_null() {
            reader.problem(
                entry.key.place,
                format!(
                    "`{}` has no value; write it after the colon or remove the key",
                    self.key(key)
                ),
            );
            return None;
        }
        Some(&entry.value)
    }
}

/// Reads a document. Anchors, aliases, tags and directives are refused: a file that is read once needs none,
/// and they let a small file mean a large one.
///
/// # Errors
/// The first fault of the syntax, or the first bound that the document breaks.
pub fn read_tree(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem {
            place: Place::UNKNOWN,
            message: format!("the file has {} bytes; allowed: at most {MAX_BYTES}", text.len()),
        });
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        nodes: 0,
    };
    builder.document()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    return fail(place, "there is a second document; keep one");
                }
                Event::DocumentStart(..) => {
                    let (event, place) = self.next()?;
                    root = Some(self.node(event, place, 0)?);
                }
                _ => return fail(place, "this is no YAML that is read here"),
            }
        }
        root.filter(|root| !root.is_null())
            .ok_or_else(|| problem(Place::UNKNOWN, "the file is empty"))
    }

    fn next(&mut self) -> Result<(Event<'a>, Place), Problem> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, place_of(&span))),
            Some(Err(error)) => Err(scan_problem(&error)),
            None => fail(Place::UNKNOWN, "the file ends in the middle of a value"),
        }
    }

    /// Builds the value that begins with an event, below `depth` sections and lists.
    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Problem> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(problem(
                place,
                &format!("there are more than {MAX_NODES} keys and values; remove those from here on"),
            ));
        }
        if depth > MAX_DEPTH {
            return Err(problem(
                place,
                &format!("there are more than {MAX_DEPTH} sections and lists inside each other"),
            ));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_properties(place, anchor, tag.is_some())?;
                Value::Scalar(Scalar {
                    text: text.into_owned(),
                    is_plain: style == ScalarStyle::Plain,
                })
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_properties(place, anchor, tag.is_some())?;
                self.list(depth)?
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_properties(place, anchor, tag.is_some())?;
                self.map(depth)?
            }
            Event::Alias(_) => {
                return fail(place, "aliases (`*name`) are not allowed; write the value again");
            }
            _ => return fail(place, "this is no YAML that is read here"),
        };
        Ok(Node { place, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                key => key,
            };
            let Value::Scalar(Scalar { text, .. }) = self.node(event, place, depth + 1)?.value else {
                return fail(place, "a key is no text; write `key: value`");
            };
            if entries.iter().any(|entry| entry.key.value == text) {
                let shown: String = text.chars().take(80).collect();
                return Err(problem(
                    place,
                    &format!("the key `{shown}` is given twice; keep one of them"),
                ));
            }
            let (event, value_place) = self.next()?;
            let value = self.node(event, value_place, depth + 1)?;
            entries.push(Entry {
                key: Text { value: text, place },
                value,
            });
        }
    }
}

fn refuse_properties(place: Place, anchor: usize, has_tag: bool) -> Result<(), Problem> {
    if anchor != 0 {
        return fail(
            place,
            "anchors (`&name`) are not allowed; write the value where it is needed",
        );
    }
    if has_tag {
        return fail(place, "tags (`!name`) are not allowed; remove it");
    }
    Ok(())
}

fn place_of(span: &Span) -> Place {
    place_at(span.start.line(), span.start.col())
}

/// Place of a marker of the parser, which counts lines from one and columns from zero.
fn place_at(line: usize, column: usize) -> Place {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Place {
        line: number(line),
        column: number(column).saturating_add(1),
    }
}

fn scan_problem(error: &ScanError) -> Problem {
    let marker = error.marker();
    problem(
        place_at(marker.line(), marker.col()),
        &format!("not valid YAML: {}", error.kind()),
    )
}

fn problem(place: Place, message: &str) -> Problem {
    Problem {
        place,
        message: message.to_owned(),
    }
}

fn fail<T>(place: Place, message: &str) -> Result<T, Problem> {
    Err(problem(place, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str, is_plain: bool) -> ScalarKind {
        let text = text.to_owned();
        Scalar { text, is_plain }.kind()
    }

    #[test]
    fn scalars_have_the_types_of_yaml() {
        for (text, expected) in [
            ("", ScalarKind::Null),
            ("null", ScalarKind::Null),
            ("True", ScalarKind::Boolean(true)),
            ("off", ScalarKind::Text),
            ("-12", ScalarKind::Integer),
            ("2.50", ScalarKind::Decimal),
            (".5", ScalarKind::Decimal),
            (".", ScalarKind::Text),
            ("1.2.3", ScalarKind::Text),
            ("1e3", ScalarKind::Text),
            ("10m", ScalarKind::Text),
        ] {
            assert_eq!(kind(text, true), expected, "{text}");
        }
        assert_eq!(kind("12", false), ScalarKind::Text);
    }

    #[test]
    fn places_are_those_of_the_first_characters() {
        let root = read_tree("# comment\na: 1\nb:\n  - x\n  - {c: \"2\"}\n").unwrap();
        let Value::Map(entries) = &root.value else {
            panic!("{root:?}")
        };
        assert_eq!(entries[0].key.place, Place { line: 2, column: 1 });
        assert_eq!(entries[0].value.place, Place { line: 2, column: 4 });
        let Value::List(items) = &entries[1].value.value else {
            panic!("{root:?}")
        };
        assert_eq!(items[0].place, Place { line: 4, column: 5 });
        let Value::Map(inner) = &items[1].value else {
            panic!("{root:?}")
        };
        assert_eq!(inner[0].key.place, Place { line: 5, column: 6 });
        assert_eq!(
            inner[0].value.value,
            Value::Scalar(Scalar {
                text: "2".into(),
                is_plain: false
            })
        );
    }

    #[test]
    fn tree_fails_when_a_small_file_could_mean_a_large_one() {
        for (text, reason) in [
            ("a: &x 1\nb: *x\n", "anchors"),
            ("a: !!str 1\n", "tags"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("", "empty"),
            ("# nothing\n", "empty"),
            ("a: 1\na: 2\n", "given twice"),
            ("[a]: 1\n", "no text"),
            ("a: [1\n", "not valid YAML"),
        ] {
            let error = read_tree(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        let deep = format!("a: {}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        assert!(
            read_tree(&deep)
                .unwrap_err()
                .message
                .contains("inside each other")
        );
        let long = format!("a: [{}]", "1,".repeat(MAX_NODES));
        assert!(read_tree(&long).unwrap_err().message.contains("keys and values"));
        let large = format!("a: {}", "x".repeat(MAX_BYTES));
        assert!(read_tree(&large).unwrap_err().message.contains("bytes"));
    }

    #[test]
    fn unknown_keys_are_all_named_with_what_was_meant() {
        let root = read_tree("imgae: a\nnodes:\nzzz: 1\n").unwrap();
        let mut reader = Reader::default();
        let section = Section::read(&mut reader, "", &root, &["image", "nodes"]).unwrap();
        assert!(section.get(&mut reader, "nodes").is_none());
        assert!(section.get(&mut reader, "image").is_none());
        let problems: Vec<_> = reader.into_problems().iter().map(Problem::to_string).collect();
        assert_eq!(
            problems,
            [
                "line 1, column 1: unknown key `imgae`; did you mean `image`?; allowed here: image, nodes",
                "line 2, column 1: `nodes` has no value; write it after the colon or remove the key",
                "line 3, column 1: unknown key `zzz`; allowed here: image, nodes",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_tree_or_a_problem(text in "[a-z0-9 \\n:\\-\\[\\]{}&*!#'\",|>]{0,120}") {
            let _ = read_tree(&text);
        }
    }
}
