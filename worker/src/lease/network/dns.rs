//! Messages of the domain name system, as far as the worker's resolver needs them: questions, and answers
//! with IPv4 addresses.

use std::net::Ipv4Addr;

/// Maximum length of a message that is read, in bytes: more than any that travels by UDP without fragments.
pub(super) const MAX_MESSAGE_BYTES: usize = 4_096;

/// Maximum number of addresses of an answer, which then fits 512 bytes with the longest name.
pub(super) const MAX_ADDRESSES: usize = 14;

/// Type of an IPv4 address.
pub(super) const TYPE_A: u16 = 1;

/// Class of the Internet.
pub(super) const CLASS_IN: u16 = 1;

/// Length of a message's head, in bytes.
const HEAD_BYTES: usize = 12;

/// Maximum length of a name, in bytes, as text.
const MAX_NAME_BYTES: usize = 253;

/// Outcome that an answer states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// There is such a name.
    Found = 0,
    /// The answer is not to be had at present.
    Failed = 2,
    /// There is no such name.
    NoName = 3,
    /// The question is not answered here.
    Refused = 5,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    id: u16,
    /// Name in lower case, without the last dot.
    pub(super) name: String,
    /// Type of the wanted record.
    pub(super) kind: u16,
    /// Class of the wanted record.
    pub(super) class: u16,
    /// The question as it was written: its sender compares upper and lower case.
    bytes: Vec<u8>,
}

/// Returns two bytes as a number.
fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_be_bytes)
}

/// Reads a name without pointers, and returns it with the place behind it.
fn plain_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // The two highest bits mark pointers and extensions.
        if length > 63 {
            return None;
        }
        let label = message.get(at..at + length)?;
        at += length;
        // A dot inside a label would make another name of it.
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
    }
}

/// Returns the place behind a name, which may end in a pointer.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return Some(at + 2),
            _ => return None,
        }
    }
}

/// Reads a query with one question.
pub(super) fn read_question(message: &[u8]) -> Option<Question> {
    let flags = number(message, 2)?;
    // A query of the standard kind: the bit of responses and the operation code are zero.
    let is_query = flags & 0xf800 == 0;
    if !is_query || number(message, 4)? != 1 {
        return None;
    }
    let (name, behind) = plain_name(message, HEAD_BYTES)?;
    Some(Question {
        id: number(message, 0)?,
        name,
        kind: number(message, behind)?,
        class: number(message, behind + 2)?,
        bytes: message.get(HEAD_BYTES..behind + 4)?.to_vec(),
    })
}

/// Writes the answer to a question. Further addresses than [`MAX_ADDRESSES`] are left out.
pub(super) fn write_answer(
    question: &Question,
    code: Code,
    addresses: &[Ipv4Addr],
    ttl_seconds: u32,
) -> Vec<u8> {
    let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
    // A response; recursion was desired and is available.
    let flags = 0x8180 | code as u16;
    let count = u16::try_from(addresses.len()).unwrap_or_default();
    let mut message = Vec::with_capacity(512);
    for field in [question.id, flags, 1, count, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    message.extend(&question.bytes);
    for address in addresses {
        // A pointer to the name of the question.
        message.extend(0xc00c_u16.to_be_bytes());
        message.extend(TYPE_A.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(ttl_seconds.to_be_bytes());
        message.extend(4_u16.to_be_bytes());
        message.extend(address.octets());
    }
    message
}

/// Writes a query for a name's IPv4 addresses; `None` if it is no name.
pub(super) fn write_query(id: u16, name: &str) -> Option<Vec<u8>> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let mut message = Vec::with_capacity(HEAD_BYTES + name.len() + 6);
    // Recursion desired.
    for field in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(TYPE_A.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

/// A resolver's answer: addresses, each with the time in seconds for which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) addresses: Vec<(Ipv4Addr, u32)>,
}

/// Reads the answer to a query that was sent with this identifier and name; `None` if it is not one.
///
/// Addresses count under any name: that of the question, or one that an alias leads to.
pub(super) fn read_answer(message: &[u8], id: u16, name: &str) -> Option<Answer> {
    let flags = number(message, 2)?;
    let is_response = flags & 0xf800 == 0x8000;
    if number(message, 0)? != id || !is_response || number(message, 4)? != 1 {
        return None;
    }
    let (asked, behind) = plain_name(message, HEAD_BYTES)?;
    if asked != name || number(message, behind)? != TYPE_A || number(message, behind + 2)? != CLASS_IN {
        return None;
    }
    let code = match flags & 0x000f {
        0 => Code::Found,
        3 => Code::NoName,
        _ => Code::Failed,
    };
    let mut addresses = Vec::new();
    let mut at = behind + 4;
    for _ in 0..number(message, 6)? {
        let record = behind_name(message, at).and_then(|at| message.get(at..));
        let Some(record) = record else { break };
        let (Some(kind), Some(class), Some(length)) =
            (number(record, 0), number(record, 2), number(record, 8))
        else {
            break;
        };
        let Some(data) = record.get(10..10 + usize::from(length)) else {
            break;
        };
        if let (TYPE_A, CLASS_IN, Ok(octets)) = (kind, class, <[u8; 4]>::try_from(data)) {
            let ttl = record.get(4..8).and_then(|bytes| bytes.try_into().ok());
            addresses.push((octets.into(), u32::from_be_bytes(ttl?)));
        }
        at = message.len() - record.len() + 10 + usize::from(length);
    }
    addresses.truncate(MAX_ADDRESSES);
    Some(Answer { code, addresses })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn query_is_read_as_it_was_written() {
        let query = write_query(0xbeef, "example.org").unwrap();
        assert_eq!(
            hex::encode(&query),
            "beef01000001000000000000076578616d706c65036f72670000010001"
        );
        let question = read_question(&query).unwrap();
        assert_eq!(
            (question.name.as_str(), question.kind, question.class),
            ("example.org", TYPE_A, CLASS_IN)
        );
        // Resolvers mix upper and lower case to distinguish answers from forgeries.
        let mixed = String::from_utf8_lossy(&query)
            .replace("example", "eXamPle")
            .into_bytes();
        let mixed = [&query[..12], &mixed[mixed.len() - 17..]].concat();
        let question = read_question(&mixed).unwrap();
        assert_eq!(question.name, "example.org");
        let answer = write_answer(&question, Code::Found, &[[1, 2, 3, 4].into()], 60);
        assert_eq!(answer[12..29], mixed[12..]);
    }

    #[test]
    fn answer_is_read_as_it_was_written() {
        let query = write_query(7, "example.org").unwrap();
        let question = read_question(&query).unwrap();
        let addresses: Vec<Ipv4Addr> = (0..40).map(|last| [1, 2, 3, last].into()).collect();
        let message = write_answer(&question, Code::Found, &addresses, 60);
        assert!(message.len() <= 512);
        let answer = read_answer(&message, 7, "example.org").unwrap();
        let expected: Vec<_> = addresses[..14].iter().map(|address| (*address, 60)).collect();
        assert_eq!((answer.code, answer.addresses), (Code::Found, expected));
        assert_eq!(read_answer(&message, 8, "example.org"), None);
        assert_eq!(read_answer(&message, 7, "example.com"), None);
        assert_eq!(read_answer(&query, 7, "example.org"), None);
        assert_eq!(read_question(&message), None);
        let none = write_answer(&question, Code::NoName, &[], 60);
        let answer = read_answer(&none, 7, "example.org").unwrap();
        assert_eq!((answer.code, answer.addresses), (Code::NoName, vec![]));
    }

    #[test]
    fn longest_answer_fits_a_datagram_without_extensions() {
        let name = format!(
            "{}.{}.{}.{}",
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61)
        );
        assert_eq!(name.len(), MAX_NAME_BYTES);
        let question = read_question(&write_query(1, &name).unwrap()).unwrap();
        let addresses = [Ipv4Addr::UNSPECIFIED; MAX_ADDRESSES];
        assert!(write_answer(&question, Code::Found, &addresses, 0).len() <= 512);
        assert_eq!(write_query(1, &format!("{name}d")), None);
        assert_eq!(write_query(1, "a..b"), None);
        assert_eq!(write_query(1, &"a".repeat(64)), None);
    }

    #[test]
    fn alias_leads_to_addresses() {
        let query = write_query(7, "a.org").unwrap();
        let mut message = query.clone();
        message[2..4].copy_from_slice(&0x8180_u16.to_be_bytes());
        message[6..8].copy_from_slice(&2_u16.to_be_bytes());
        // a.org is an alias of b.org, whose name stands in the record's data and is pointed to.
        let alias = message.len() + 12;
        message.extend(hex::decode("c00c000500010000003c0007").unwrap());
        message.extend(b"\x01b\x03org\0");
        message.extend((0xc000_u16 | u16::try_from(alias).unwrap()).to_be_bytes());
        message.extend(hex::decode("000100010000001e000401020304").unwrap());
        let answer = read_answer(&message, 7, "a.org").unwrap();
        assert_eq!(answer.addresses, [([1, 2, 3, 4].into(), 30)]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_question(&bytes);
            let _ = read_answer(&bytes, 7, "example.org");
        }

        #[test]
        fn reading_a_damaged_answer_never_panics(at in 0_usize..60, byte: u8, length in 0_usize..60) {
            let question = read_question(&write_query(7, "example.org").unwrap()).unwrap();
            let mut message = write_answer(&question, Code::Found, &[[1, 2, 3, 4].into(), [5, 6, 7, 8].into()], 60);
            if let Some(place) = message.get_mut(at) {
                *place = byte;
            }
            let length = length.min(message.len());
            let _ = read_answer(&message[..length], 7, "example.org");
            let _ = read_answer(&message, 7, "example.org");
            let _ = read_question(&message);
        }
    }
}
