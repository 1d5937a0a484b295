//! JSON as Assay's programs print it: keys and names of variants in snake_case.
//!
//! Types that JSON-RPC carries are written in camelCase there, as is usual in the ecosystem, and the events
//! of a pallet are named as in Rust. [`to_value`] writes the same types for `--output json`, so that no type
//! needs a second definition. It converts names that types declare; text and keys of maps stay as they are.

use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::{Error, Map, Value};

/// Fields that hold the name of a variant as text: the tags of enums that are one flat object.
const TAGS: [&str; 3] = ["event", "pallet", "requirement"];

/// Writes a value as JSON in snake_case.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    value.serialize(SnakeCase)
}

/// Returns a name of Rust or of JSON-RPC in snake_case.
pub(crate) fn snake_case(name: &str) -> String {
    let mut converted = String::with_capacity(name.len() + 4);
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase() && index > 0 {
            converted.push('_');
        }
        converted.push(character.to_ascii_lowercase());
    }
    converted
}

/// Builds a [`Value`] and converts each declared name.
struct SnakeCase;

/// Serializes what has no names in it.
macro_rules! as_it_is {
    ($($function:ident($type:ty)),+ $(,)?) => {
        $(fn $function(self, value: $type) -> Result<Value, Error> {
            serde_json::to_value(value)
        })+
    };
}

impl Serializer for SnakeCase {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    as_it_is! {
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
    }

    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        to_value(value)
    }

    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Error> {
        Ok(snake_case(variant).into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        to_value(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        Ok(within(Some(variant), to_value(value)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, Error> {
        Ok(List::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<List, Error> {
        Ok(List::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, Error> {
        Ok(List::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List, Error> {
        Ok(List {
            variant: Some(variant),
            ..List::default()
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, Error> {
        Ok(Object::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object, Error> {
        Ok(Object::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object, Error> {
        Ok(Object {
            variant: Some(variant),
            ..Object::default()
        })
    }
}

/// Puts the content of a variant into an object of the variant's name.
fn within(variant: Option<&str>, content: Value) -> Value {
    match variant {
        Some(variant) => Value::Object(Map::from_iter([(snake_case(variant), content)])),
        None => content,
    }
}

/// Array that is being written.
#[derive(Default)]
struct List {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.items.push(to_value(value)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, Error> {
        Ok(within(self.variant, Value::Array(self.items)))
    }
}

/// Implements a part of a serializer that appends to a [`List`].
macro_rules! appends {
    ($($part:ident::$function:ident),+ $(,)?) => {
        $(impl $part for List {
            type Ok = Value;
            type Error = Error;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.push(value)
            }

            fn end(self) -> Result<Value, Error> {
                self.finish()
            }
        })+
    };
}

appends! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// Object that is being written.
#[derive(Default)]
struct Object {
    variant: Option<&'static str>,
    fields: Map<String, Value>,
    key: Option<String>,
}

impl Object {
    fn insert<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let mut value = to_value(value)?;
        if TAGS.contains(&name)
            && let Value::String(variant) = &mut value
        {
            *variant = snake_case(variant);
        }
        self.fields.insert(snake_case(name), value);
        Ok(())
    }

    fn finish(self) -> Result<Value, Error> {
        Ok(within(self.variant, Value::Object(self.fields)))
    }
}

/// Implements a part of a serializer that adds fields to an [`Object`].
macro_rules! inserts {
    ($($part:ident),+) => {
        $(impl $part for Object {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.insert(name, value)
            }

            fn end(self) -> Result<Value, Error> {
                self.finish()
            }
        })+
    };
}

inserts!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Object {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = Some(match to_value(key)? {
            Value::String(key) => key,
            key => key.to_string(),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self
            .key
            .take()
            .ok_or_else(|| Error::custom("a value came before its key"))?;
        self.fields.insert(key, to_value(value)?);
        Ok(())
    }

    fn end(self) -> Result<Value, Error> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use assay_primitives::{
        machine::{Location, MachineStatus, SuspensionReason},
        market::{Gap, Mismatch, TeeKind, TeeKinds},
        offence::Offence,
    };
    use serde_json::json;

    use super::*;
    use crate::types::{JobKind, Text};

    #[test]
    fn names_are_converted_wherever_they_stand() {
        for (value, expected) in [
            (to_value(&TeeKind::SevSnp), json!("sev_snp")),
            (to_value(&Some(Offence::ChallengeWrong)), json!("challenge_wrong")),
            (
                to_value(&MachineStatus::Suspended(SuspensionReason::BondTooLow)),
                json!({ "suspended": "bond_too_low" }),
            ),
            (
                to_value(&TeeKinds::NONE.with(TeeKind::Tdx).with(TeeKind::NvidiaGpu)),
                json!(["tdx", "nvidia_gpu"]),
            ),
            (
                to_value(&Location {
                    latitude_microdegrees: -1,
                    longitude_microdegrees: 2,
                }),
                json!({ "latitude_microdegrees": -1, "longitude_microdegrees": 2 }),
            ),
            (
                to_value(&JobKind::task(7)),
                json!({ "task": { "verification": { "consumer": { "window_ms": 7 } } } }),
            ),
            (
                to_value(&Mismatch::MinVramMib(Gap { wanted: 2, found: 1 })),
                json!({ "requirement": "min_vram_mib", "wanted": 2, "found": 1 }),
            ),
            (
                to_value(&Mismatch::Status {
                    found: MachineStatus::Draining,
                }),
                json!({ "requirement": "status", "found": "draining" }),
            ),
        ] {
            assert_eq!(value.unwrap(), expected);
        }
    }

    #[test]
    fn text_and_keys_of_maps_stay_as_they_are() {
        let name = Text::from("myFarm");
        assert_eq!(to_value(&name).unwrap(), json!("myFarm"));
        let map = BTreeMap::from([("someKey", Some("aValue")), ("event", None)]);
        assert_eq!(
            to_value(&map).unwrap(),
            json!({ "event": null, "someKey": "aValue" })
        );
    }

    #[test]
    fn names_in_snake_case_stay_as_they_are() {
        for name in ["", "job", "provider_amount", "until_s"] {
            assert_eq!(snake_case(name), name);
        }
        assert_eq!(snake_case("JobEscrow"), "job_escrow");
        assert_eq!(snake_case("pricePerSlotHour"), "price_per_slot_hour");
    }
}
