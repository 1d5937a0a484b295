//! JSON of bounded bytes, amounts and keys; for `#[serde(with = "…")]`.

use alloc::{borrow::Cow, format, string::String, vec::Vec};
use core::fmt::Write;

use polkadot_sdk::sp_runtime::{BoundedVec, traits::Get};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::money::Balance;

/// Bounded bytes as text. Bytes that are no UTF-8 show as replacement characters.
pub(crate) mod text {
    use super::*;

    pub(crate) fn serialize<S: Serializer, B: Get<u32>>(
        text: &BoundedVec<u8, B>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(text))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: Get<u32>>(
        deserializer: D,
    ) -> Result<BoundedVec<u8, B>, D::Error> {
        bounded(String::deserialize(deserializer)?)
    }
}

/// Bounded bytes as text, or `null`.
pub(crate) mod optional_text {
    use super::*;

    pub(crate) fn serialize<S: Serializer, B: Get<u32>>(
        text: &Option<BoundedVec<u8, B>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text: Option<Cow<'_, str>> = text.as_ref().map(|text| String::from_utf8_lossy(text));
        text.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: Get<u32>>(
        deserializer: D,
    ) -> Result<Option<BoundedVec<u8, B>>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(bounded)
            .transpose()
    }
}

fn bounded<B: Get<u32>, E: Error>(text: String) -> Result<BoundedVec<u8, B>, E> {
    text.into_bytes()
        .try_into()
        .map_err(|_| E::custom(format!("text of more than {} bytes", B::get())))
}

/// Plancks as a decimal string: many readers of JSON keep no more than 53 bits of a number. A number is
/// understood too where it is small enough to be exact.
pub(crate) mod amount {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(amount: &Balance, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Balance, D::Error> {
        Amount::deserialize(deserializer)?.plancks()
    }
}

/// Plancks as a decimal string, or `null`.
pub(crate) mod optional_amount {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        amount: &Option<Balance>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => serializer.collect_str(amount),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Balance>, D::Error> {
        Option::<Amount>::deserialize(deserializer)?
            .map(Amount::plancks)
            .transpose()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

impl Amount {
    fn plancks<E: Error>(self) -> Result<Balance, E> {
        match self {
            Self::Number(number) => Ok(number.into()),
            Self::Text(text) => text
                .parse()
                .map_err(|_| E::custom(format!("'{text}' is not a whole number of plancks"))),
        }
    }
}

/// A fixed number of bytes as hex digits behind `0x`.
pub(crate) mod key {
    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::from("0x");
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom(format!("not 0x and {} hex digits", 2 * N)))
    }

    fn from_hex(text: &str) -> Option<Vec<u8>> {
        let digits = text.strip_prefix("0x")?.as_bytes();
        digits
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
                }
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use crate::{
        machine::{Location, MachineStatus, SuspensionReason},
        market::{Cursor, Gap, Mismatch, Near, Requirements, TeeKind, TeeKinds},
    };

    #[test]
    fn requirements_are_read_as_people_write_them() {
        let requirements: Requirements = from_value(json!({
            "gpuType": "NVIDIA_H100",
            "minVramMib": 81_920,
            "region": "us-east",
            "near": { "center": { "latitudeMicrodegrees": 1, "longitudeMicrodegrees": -2 }, "withinKm": 3 },
            "maxPricePerSlotHour": "2500000000000",
            "tee": "sevSnp",
            "minNodes": 4,
        }))
        .unwrap();
        let expected = Requirements {
            gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
            min_vram_mib: 81_920,
            region: Some(b"us-east".to_vec().try_into().unwrap()),
            near: Some(Near {
                center: Location {
                    latitude_microdegrees: 1,
                    longitude_microdegrees: -2,
                },
                within_km: 3,
            }),
            max_price_per_slot_hour: Some(2_500_000_000_000),
            tee: Some(TeeKind::SevSnp),
            min_nodes: 4,
            ..Default::default()
        };
        assert_eq!(requirements, expected);
        assert_eq!(
            from_value::<Requirements>(to_value(&expected).unwrap()).unwrap(),
            expected
        );
        assert_eq!(
            from_value::<Requirements>(json!({})).unwrap(),
            Requirements::default()
        );
    }

    #[test]
    fn bad_requirements_are_refused_with_their_reason() {
        for (bad, reason) in [
            (json!({ "gpu": "NVIDIA_H100" }), "unknown field `gpu`"),
            (json!({ "gpuType": "A".repeat(33) }), "text of more than 32 bytes"),
            (
                json!({ "maxPricePerSlotHour": "2.5" }),
                "'2.5' is not a whole number of plancks",
            ),
            (
                json!({ "maxPricePerSlotHour": "-1" }),
                "'-1' is not a whole number of plancks",
            ),
            (json!({ "tee": "sev" }), "unknown variant `sev`"),
            (json!({ "minNodes": 256 }), "invalid"),
            (json!({ "near": { "withinKm": 3 } }), "missing field `center`"),
        ] {
            let error = from_value::<Requirements>(bad.clone()).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn amounts_are_read_as_numbers_too_and_written_as_text() {
        let read = |amount: Value| {
            from_value::<Requirements>(json!({ "maxPricePerSlotHour": amount }))
                .unwrap()
                .max_price_per_slot_hour
        };
        assert_eq!(read(json!(7)), Some(7));
        assert_eq!(read(json!(u128::MAX.to_string())), Some(u128::MAX));
        assert_eq!(read(Value::Null), None);
        let mismatch = Mismatch::MaxPricePerSlotHour { found: u128::MAX };
        assert_eq!(
            to_value(&mismatch).unwrap(),
            json!({ "requirement": "maxPricePerSlotHour", "found": u128::MAX.to_string() })
        );
    }

    #[test]
    fn mismatches_name_the_requirement_and_what_there_is() {
        for (mismatch, expected) in [
            (
                Mismatch::MinVramMib(Gap { wanted: 2, found: 1 }),
                json!({ "requirement": "minVramMib", "wanted": 2, "found": 1 }),
            ),
            (
                Mismatch::Status {
                    found: MachineStatus::Suspended(SuspensionReason::BondTooLow),
                },
                json!({ "requirement": "status", "found": { "suspended": "bondTooLow" } }),
            ),
            (
                Mismatch::Tee {
                    found: TeeKinds::NONE.with(TeeKind::Tdx).with(TeeKind::NvidiaGpu),
                },
                json!({ "requirement": "tee", "found": ["tdx", "nvidiaGpu"] }),
            ),
        ] {
            assert_eq!(to_value(&mismatch).unwrap(), expected);
            assert_eq!(from_value::<Mismatch>(expected).unwrap(), mismatch);
        }
    }

    #[test]
    fn cursors_are_hex_of_their_length() {
        let cursor = Cursor([0xAB; 25]);
        let text = format!("0x{}", "ab".repeat(25));
        assert_eq!(to_value(cursor).unwrap(), json!(text));
        assert_eq!(
            from_value::<Cursor>(json!(text.to_uppercase().replace("0X", "0x"))).unwrap(),
            cursor
        );
        for bad in [
            "ab".repeat(25),
            format!("0x{}", "ab".repeat(24)),
            format!("0x{}a", "ab".repeat(24)),
            format!("0x{}zz", "ab".repeat(24)),
            format!("0xé{}", "ab".repeat(24)),
        ] {
            assert!(from_value::<Cursor>(json!(bad)).is_err(), "{bad}");
        }
    }
}
