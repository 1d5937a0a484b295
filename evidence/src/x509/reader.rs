//! Reader for DER that copies nothing and compares every length with the remaining bytes.

use der::{Header, Reader, SliceReader};

/// Tags of certificates and lists; all have one byte.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;

    /// Returns the tag of a constructed element `[number]`.
    pub(crate) const fn context(number: u8) -> u8 {
        0xa0 | number
    }
}

/// DER element: its tag, all its bytes, and its value (the bytes after tag and length).
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) raw: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Position in a row of elements. Malformed input gives `None`; the caller knows which part it was reading.
pub(crate) struct Elements<'a> {
    bytes: &'a [u8],
    reader: SliceReader<'a>,
}

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        let reader = SliceReader::new(bytes).ok()?;
        Some(Self { bytes, reader })
    }

    /// Returns the elements inside `bytes`, which must be exactly one element with this tag.
    pub(crate) fn inside(bytes: &'a [u8], tag: u8) -> Option<Self> {
        let mut outer = Self::new(bytes)?;
        let element = outer.expect(tag)?;
        outer.end()?;
        Self::new(element.value)
    }

    /// Returns the next element with any tag.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let start = self.position()?;
        let header: Header = self.reader.decode().ok()?;
        let value = self.reader.read_slice(header.length()).ok()?;
        let raw = self.bytes.get(start..self.position()?)?;
        Some(Element {
            tag: *raw.first()?,
            raw,
            value,
        })
    }

    fn position(&self) -> Option<usize> {
        self.reader.position().try_into().ok()
    }

    /// Returns the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// Returns the elements inside the next one, which must be a sequence.
    pub(crate) fn sequence(&mut self) -> Option<Self> {
        Self::new(self.expect(tag::SEQUENCE)?.value)
    }

    /// Returns true if the next element has this tag; false at the end.
    pub(crate) fn at(&self, tag: u8) -> bool {
        self.reader.peek_byte() == Some(tag)
    }

    /// Returns the next element if it has this tag, `Some(None)` if it has another or there is none.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        if self.at(tag) {
            self.next().map(Some)
        } else {
            Some(None)
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.reader.is_finished()
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Option<()> {
        self.is_at_end().then_some(())
    }
}

/// Returns the value of a non-negative integer without leading zeros; zero gives no bytes.
pub(crate) fn unsigned(element: Element<'_>) -> Option<&[u8]> {
    if element.tag != tag::INTEGER || element.value.first()? & 0x80 != 0 {
        return None;
    }
    let zeros = element.value.iter().take_while(|byte| **byte == 0).count();
    // DER allows one leading zero at most, and only before a set bit.
    if zeros > 1 || (zeros == 1 && element.value.get(1).is_some_and(|byte| byte & 0x80 == 0)) {
        return None;
    }
    element.value.get(zeros..)
}

/// Returns the value of an integer of two bytes at most.
pub(crate) fn small_unsigned(element: Element<'_>) -> Option<u16> {
    match *unsigned(element)? {
        [] => Some(0),
        [low] => Some(low.into()),
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// Returns the bytes of a bit string without unused bits.
pub(crate) fn whole_bytes(element: Element<'_>) -> Option<&[u8]> {
    match element.value.split_first()? {
        (0, bytes) if element.tag == tag::BIT_STRING => Some(bytes),
        _ => None,
    }
}

/// Returns the seconds since 1970 of a `UTCTime` or `GeneralizedTime`, in the one form that RFC 5280 allows.
pub(crate) fn time_s(element: Element<'_>) -> Option<u64> {
    let (year, rest) = match element.tag {
        tag::UTC_TIME => {
            let (year, rest) = element.value.split_at_checked(2)?;
            let year = decimal(year)?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = element.value.split_at_checked(4)?;
            (decimal(year)?, rest)
        }
        _ => return None,
    };
    let (digits, zone) = rest.split_at_checked(10)?;
    if zone != b"Z" {
        return None;
    }
    let mut parts = digits.chunks_exact(2).map(decimal);
    let mut part = || parts.next().flatten();
    unix_s(year, part()?, part()?, part()?, part()?, part()?)
}

/// Returns the seconds since 1970 of a text such as `2025-06-19T10:56:11Z`.
pub(crate) fn rfc3339_s(text: &str) -> Option<u64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let separators = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'Z'),
    ];
    if separators.iter().any(|(at, byte)| bytes.get(*at) != Some(byte)) {
        return None;
    }
    let part = |from: usize, to: usize| bytes.get(from..to).and_then(decimal);
    unix_s(
        part(0, 4)?,
        part(5, 7)?,
        part(8, 10)?,
        part(11, 13)?,
        part(14, 16)?,
        part(17, 19)?,
    )
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u64::from(digit - b'0'))
    })
}

/// Returns the seconds since 1970; `None` for earlier and invalid dates.
fn unix_s(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<u64> {
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let month_days = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let month_index = usize::try_from(month.checked_sub(1)?).ok()?;
    let days_of_month = *month_days.get(month_index)?;
    if year < 1_970 || day == 0 || day > days_of_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = year - 1;
    // Days from the first day of year 1 to that of this year, minus those to 1970.
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let days_before_month: u64 = month_days.iter().take(month_index).sum();
    let days = days_before_year + days_before_month + day - 1;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(bytes: &[u8]) -> Option<u64> {
        Elements::new(bytes)
            .and_then(|mut elements| elements.next())
            .and_then(time_s)
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        assert_eq!(time(b"\x17\x0d700101000000Z"), Some(0));
        assert_eq!(time(b"\x17\x0d491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(b"\x18\x0f99991231235959Z"), Some(253_402_300_799));
        assert_eq!(rfc3339_s("2025-06-19T10:56:11Z"), Some(1_750_330_571));
        assert_eq!(rfc3339_s("2024-02-29T00:00:00Z"), Some(1_709_164_800));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bytes in [
            &b"\x17\x0d500101000000Z"[..],
            b"\x17\x0d700230000000Z",
            b"\x17\x0d700001000000Z",
            b"\x17\x0d701301000000Z",
            b"\x17\x0d700101240000Z",
            b"\x17\x0d700101006000Z",
            b"\x17\x0d7001010000 0Z",
            b"\x17\x0c70010100000Z",
            b"\x17\x0d700101000000+",
            b"\x18\x0d700101000000Z",
            b"\x02\x01\x00",
        ] {
            assert_eq!(time(bytes), None, "{bytes:?}");
        }
        for text in [
            "",
            "2025-06-19T10:56:11",
            "2025-06-19 10:56:11Z",
            "2023-02-29T00:00:00Z",
            "2025-06-19T10:56:1éZ",
        ] {
            assert_eq!(rfc3339_s(text), None, "{text}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &b"\x30\x05\x02\x01\x00"[..],
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x80\x00\x00",
            b"\x30\x81\x01\x00",
            b"\x30",
            b"",
        ] {
            assert!(Elements::inside(bytes, tag::SEQUENCE).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn integers_have_one_form() {
        let integer = |bytes: &'static [u8]| {
            Elements::new(bytes)
                .and_then(|mut elements| elements.next())
                .and_then(small_unsigned)
        };
        assert_eq!(integer(b"\x02\x01\x00"), Some(0));
        assert_eq!(integer(b"\x02\x01\x7f"), Some(127));
        assert_eq!(integer(b"\x02\x02\x00\x80"), Some(128));
        assert_eq!(integer(b"\x02\x02\x12\x34"), Some(0x1234));
        assert_eq!(integer(b"\x02\x03\x00\xff\xff"), Some(0xffff));
        for wrong in [
            &b"\x02\x00"[..],
            b"\x02\x01\x80",
            b"\x02\x02\x00\x00",
            b"\x02\x02\x00\x7f",
            b"\x02\x03\x01\x00\x00",
        ] {
            assert_eq!(integer(wrong), None, "{wrong:?}");
        }
    }
}
