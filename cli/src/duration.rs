//! Lengths of time in text: `90s`, `10m`, `2h`, `1d`.

pub(crate) use assay_client::units::{format_milliseconds, parse_duration};
