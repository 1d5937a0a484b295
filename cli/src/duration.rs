//! Lengths of time as people write them: `90s`, `10m`, `2h`, `1d`.

pub(crate) use assay_client::units::{format_milliseconds, parse_duration};
