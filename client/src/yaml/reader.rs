//! Reads single values, and collects their problems instead of stopping at the first.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::{Place, Problem, Text};
use crate::redaction;

/// Collects problems while values are read; a bad value yields a placeholder that is never used.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// Returns the problems in the order of the file.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place);
        self.problems
    }

    /// Returns true if there is no problem so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Records a problem at a place.
    pub fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Problem { place, message });
    }

    /// Records that a value is not allowed. The message has the value, unless that looks like a secret, and
    /// URLs without their credentials.
    pub fn bad(&mut self, key: &str, text: &Text, allowed: impl Display) {
        let value = shorten(&redaction::shown(&text.value));
        self.problem(text.place, format!("`{key}` is `{value}`; allowed: {allowed}"));
    }

    /// Reads a value with `parse`, whose error says which values are allowed.
    pub fn with<T: Default>(
        &mut self,
        key: &str,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        match parse(&text.value) {
            Ok(value) => value,
            Err(allowed) => {
                self.bad(key, text, allowed);
                T::default()
            }
        }
    }

    /// Reads a whole number in a range.
    pub fn number<N>(&mut self, key: &str, text: &Text, range: RangeInclusive<N>) -> N
    where
        N: FromStr + PartialOrd + Display + Default + Copy,
    {
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        self.with(key, text, |value| {
            value
                .parse()
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(allowed)
        })
    }

    /// Reads a whole number in a range, or returns the default.
    pub fn number_or<N>(&mut self, key: &str, text: Option<&Text>, range: RangeInclusive<N>, default: N) -> N
    where
        N: FromStr + PartialOrd + Display + Default + Copy,
    {
        text.map_or(default, |text| self.number(key, text, range))
    }

    /// Reads `true` or `false`; false if the key is missing.
    pub fn flag(&mut self, key: &str, text: Option<&Text>) -> bool {
        text.is_some_and(|text| {
            self.with(key, text, |value| match value.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("true or false".to_owned()),
            })
        })
    }

    /// Reads text of 1 to `longest` bytes without control characters.
    pub fn text(&mut self, key: &str, text: &Text, longest: u32) -> String {
        self.with(key, text, |value| {
            let usable = !value.trim().is_empty()
                && value.len() <= longest as usize
                && !value.chars().any(char::is_control);
            if usable {
                Ok(value.to_owned())
            } else {
                Err(format!("text of 1 to {longest} bytes"))
            }
        })
    }
}

/// Shortens a value for an error message to a length at which it is still recognisable.
fn shorten(value: &str) -> String {
    const LONGEST_CHARS: usize = 80;
    if value.chars().count() <= LONGEST_CHARS {
        return value.to_owned();
    }
    value.chars().take(LONGEST_CHARS).chain(['…']).collect()
}

/// Parses degrees with at most six decimals, and returns micro-degrees.
pub fn parse_microdegrees(text: &str, limit_degrees: u32) -> Result<i32, String> {
    let allowed = || format!("degrees from -{limit_degrees} to {limit_degrees} with at most 6 decimals");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || whole.len() > 3 || decimals.len() > 6 {
        return Err(allowed());
    }
    let whole: i32 = whole.parse().map_err(|_| allowed())?;
    let decimals: i32 = format!("{decimals:0<6}").parse().map_err(|_| allowed())?;
    let microdegrees = whole * 1_000_000 + decimals;
    if microdegrees > limit_degrees as i32 * 1_000_000 {
        return Err(allowed());
    }
    Ok(if negative { -microdegrees } else { microdegrees })
}
