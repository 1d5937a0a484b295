//! Requests for a part of a response (RFC 9110, section 14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};

/// Part of a response that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Bytes that are not there.
    Nowhere,
}

/// Reads the part that a request asks for, of a content with this length and entity tag.
///
/// Several ranges at once, and ranges of other units, are answered with the whole, as the RFC permits.
pub(super) fn part(headers: &HeaderMap, length: u64, tag: &HeaderValue) -> Part {
    let is_of_this = headers.get(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = headers
        .get(header::RANGE)
        .filter(|_| is_of_this)
        .and_then(|range| range.to_str().ok())
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.trim().split_once('-'));
    let Some((first, last)) = range else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number {
            // A number that is too large is beyond every end.
            Some(text.parse().unwrap_or(u64::MAX))
        } else {
            None
        }
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.trim().is_empty() => first..length,
        (None, Some(last)) if first.trim().is_empty() => length.saturating_sub(last)..length,
        _ => return Part::Whole,
    };
    if range.is_empty() {
        Part::Nowhere
    } else {
        Part::Bytes(range)
    }
}

/// Returns true if the client has the content of this entity tag already.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let tag = tag.to_str().unwrap_or_default();
    known
        .flat_map(|tags| tags.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: HeaderValue = HeaderValue::from_static("\"aa\"");

    fn asked(range: &'static str, length: u64) -> Part {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(range))]);
        part(&headers, length, &TAG)
    }

    #[test]
    fn ranges_are_read() {
        for (range, expected) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-4", Part::Bytes(2..5)),
            ("bytes=2-", Part::Bytes(2..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=5-99999999999999999999999", Part::Bytes(5..10)),
            ("bytes=10-", Part::Nowhere),
            ("bytes=10-12", Part::Nowhere),
            ("bytes=-0", Part::Nowhere),
            ("bytes=4-2", Part::Whole),
            ("bytes=1-2,4-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), Part::Nowhere);
        assert_eq!(part(&HeaderMap::new(), 10, &TAG), Part::Whole);
    }

    #[test]
    fn range_of_other_content_is_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"bb\""));
        assert_eq!(part(&headers, 10, &TAG), Part::Whole);
        headers.insert(header::IF_RANGE, TAG);
        assert_eq!(part(&headers, 10, &TAG), Part::Bytes(1..3));
    }

    #[test]
    fn known_content_is_recognised() {
        let mut headers = HeaderMap::new();
        assert!(!is_known(&headers, &TAG));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"bb\", \"aa\""));
        assert!(is_known(&headers, &TAG));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"bb\""));
        assert!(!is_known(&headers, &TAG));
    }
}
