//! Meaning of NVIDIA's Xids, the numbers by which its driver names an error of a GPU.
//!
//! The numbers and their remedies are those of NVIDIA's "Xid Errors", "Analyzing Xid Errors with the Xid
//! Catalog" (GPU Deployment and Management Documentation). Only those count against a machine that the
//! catalogue answers with a reset, a repair or a replacement and that a program cannot cause: otherwise a
//! consumer could suspend a machine by its job. Those that the catalogue answers with a restart of the
//! program are ignored, unless it says that programs seldom cause them.

/// Meaning of an Xid for the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XidMeaning {
    /// A program's own error, or its clean-up: ignored.
    Program,
    /// The GPU needs a reset or a repair; the text says what happened.
    Fault(&'static str),
    /// Worth a look, and no reason to stop.
    Other,
}

/// Returns the meaning of an Xid.
pub(super) fn meaning(xid: u64) -> XidMeaning {
    use XidMeaning::{Fault, Other, Program};
    match xid {
        // Exception of the graphics engine, and page fault of its memory: wrong instructions or addresses.
        13 | 31 => Program,
        // Stopped processing, corrupted push buffer, a program that must end by its own fault, and
        // clean-up after one that ended.
        8 | 11 | 43 | 45 => Program,
        // Exceptions of single engines: copies (39 to 41), images of videos, decoder of videos, class of
        // graphics.
        39..=42 | 68 | 69 => Program,
        48 => Fault("memory has an uncorrectable error of two bits"),
        62 => Fault("its microcontroller stopped"),
        64 => Fault("bad memory could not be replaced by spare memory"),
        74 => Fault("a link to another GPU or to a switch failed"),
        79 => Fault("it fell off the bus"),
        95 => Fault("memory has an error that could not be contained"),
        119 => Fault("its system processor does not answer the driver"),
        120 => Fault("its system processor failed"),
        140 => Fault("memory has an error that was not recovered"),
        143 => Fault("it could not be initialized"),
        // Among them 32, a corrupted push buffer, for which the catalogue blames the PCI connection more than
        // programs, and 46 and 109, timeouts that it answers with a reset, but an endless kernel may cause.
        _ => Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_cannot_cause_a_fault() {
        for xid in [8, 11, 13, 31, 39, 40, 41, 42, 43, 45, 68, 69] {
            assert_eq!(meaning(xid), XidMeaning::Program, "{xid}");
        }
        // An error that was contained ended one program; recorded replacements of memory are in order. A
        // program may cause a timeout, and a bad connection may corrupt its commands.
        for xid in [0, 32, 46, 61, 63, 92, 94, 109, 154, u64::MAX] {
            assert_eq!(meaning(xid), XidMeaning::Other, "{xid}");
        }
        for xid in [48, 62, 64, 74, 79, 95, 119, 120, 140, 143] {
            assert!(matches!(meaning(xid), XidMeaning::Fault(_)), "{xid}");
        }
    }
}
