//! Reader of server-sent events, in bounded memory.
//!
//! It reads the part of the format that workers write: lines that end in LF or CR LF, and numbers as
//! identifiers.

/// Maximum length of a line, in bytes: more than a record of a log has in its longest JSON.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1_024;

/// Maximum length of an event's data, in bytes, of all its lines together.
pub(super) const MAX_DATA_BYTES: usize = 256 * 1_024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Number to resume after, if the event has one.
    pub(super) id: Option<u64>,
    /// Name; empty if the event has none.
    pub(super) name: String,
    /// Data.
    pub(super) data: String,
}

/// Fault of a stream of events. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventError {
    /// A line is too long.
    #[error("a line of it is longer than {MAX_LINE_BYTES} bytes")]
    LongLine,
    /// The data of an event are too long.
    #[error("an event of it has more than {MAX_DATA_BYTES} bytes")]
    LongData,
    /// A line is not UTF-8.
    #[error("a line of it is not UTF-8")]
    NotText,
    /// An identifier is no number.
    #[error("an event of it has an identifier that is no number")]
    BadId,
}

/// Reader of events from pieces of any length. Memory: one line and one event.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// Beginning of a line whose end has not come.
    line: Vec<u8>,
    id: Option<u64>,
    name: String,
    /// Data of the event whose end has not come; `None` if it has none.
    data: Option<String>,
}

impl EventReader {
    /// Takes the next piece of the stream, and returns the events that it completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len().saturating_add(part.len()) > MAX_LINE_BYTES {
                return Err(EventError::LongLine);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.take_line(&line)?);
            }
        }
        Ok(events)
    }

    /// Takes a line with its end; returns the event that an empty one completes.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<Event>, EventError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(self.complete());
        }
        let text = std::str::from_utf8(line).map_err(|_| EventError::NotText)?;
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(read_id(value).ok_or(EventError::BadId)?),
            "event" => self.name = value.to_owned(),
            "data" => self.add_data(value)?,
            // Comments, which have no field, and the time of `retry`.
            _ => (),
        }
        Ok(None)
    }

    fn add_data(&mut self, value: &str) -> Result<(), EventError> {
        let length = self.data.as_ref().map_or(0, |data| data.len().saturating_add(1));
        if length.saturating_add(value.len()) > MAX_DATA_BYTES {
            return Err(EventError::LongData);
        }
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        Ok(())
    }

    /// Returns the event that was read; `None` if it has no data.
    fn complete(&mut self) -> Option<Event> {
        let (id, name) = (self.id.take(), std::mem::take(&mut self.name));
        let data = self.data.take()?;
        Some(Event { id, name, data })
    }
}

/// Reads an identifier: digits only, since `parse` takes a sign as well.
fn read_id(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn event(id: Option<u64>, name: &str, data: &str) -> Event {
        Event {
            id,
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    const STREAM: &str = "retry: 2000\n\n: still here\n\nid: 7\nevent: stdout\ndata: {\"text\":\"grün €\"}\n\n\
                          event: end\r\ndata:x\r\ndata\r\ndata: y\r\n\r\nid: 9\n\nevent: cut\ndata: z\n";

    fn expected() -> [Event; 2] {
        [
            event(Some(7), "stdout", "{\"text\":\"grün €\"}"),
            event(None, "end", "x\n\ny"),
        ]
    }

    #[test]
    fn events_are_read_and_an_unfinished_one_is_not() {
        assert_eq!(
            EventReader::default().push(STREAM.as_bytes()).unwrap(),
            expected()
        );
    }

    #[test]
    fn line_without_an_end_is_not_kept_for_ever() {
        let mut reader = EventReader::default();
        let piece = [b'a'; 64 * 1_024];
        let mut taken = 0;
        let error = loop {
            match reader.push(&piece) {
                Ok(events) => assert!(events.is_empty()),
                Err(error) => break error,
            }
            taken += piece.len();
        };
        assert_eq!(error, EventError::LongLine);
        assert_eq!(taken, MAX_LINE_BYTES);
    }

    #[test]
    fn event_without_an_end_is_not_kept_for_ever() {
        let mut reader = EventReader::default();
        let line = format!("data: {}\n", "a".repeat(1_000));
        let mut lines = 0;
        let error = loop {
            match reader.push(line.as_bytes()) {
                Ok(events) => assert!(events.is_empty()),
                Err(error) => break error,
            }
            lines += 1;
        };
        assert_eq!(error, EventError::LongData);
        assert_eq!(lines, MAX_DATA_BYTES / 1_001);
        // Lines without data count as well.
        let mut reader = EventReader::default();
        assert_eq!(
            reader.push("data\n".repeat(MAX_DATA_BYTES + 2).as_bytes()),
            Err(EventError::LongData)
        );
    }

    #[test]
    fn identifiers_are_numbers() {
        for id in ["-1", "+1", "1.5", "a", "18446744073709551616", "1 "] {
            let text = format!("id: {id}\ndata: a\n\n");
            assert_eq!(
                EventReader::default().push(text.as_bytes()),
                Err(EventError::BadId),
                "{id}"
            );
        }
        let read = EventReader::default().push(b"id: 18446744073709551615\ndata: a\n\n");
        assert_eq!(read.unwrap()[0].id, Some(u64::MAX));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let read = EventReader::default().push(b"data: \xff\n\n");
        assert_eq!(read, Err(EventError::NotText));
    }

    proptest! {
        /// Cuts may lie in the middle of a line end, or of a character.
        #[test]
        fn cuts_make_no_difference(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for pair in cuts.windows(2) {
                events.extend(reader.push(&STREAM.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn any_bytes_are_read_in_bounded_memory(pieces in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(b'd'), any::<u8>()], 0..200),
            0..20,
        )) {
            let mut reader = EventReader::default();
            for piece in pieces {
                if reader.push(&piece).is_err() {
                    break;
                }
                prop_assert!(reader.line.len() <= MAX_LINE_BYTES);
            }
        }
    }
}
