//! A record that is passed on as it is stored: JSON text whose digits nobody rewrites.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// JSON of an object.
#[derive(Debug, Clone)]
pub struct RawRecord(Box<RawValue>);

impl RawRecord {
    /// Takes the text of a JSON object; nothing, if it is none.
    pub fn new(text: String) -> Option<Self> {
        let raw = RawValue::from_string(text).ok()?;
        raw.get().starts_with('{').then_some(Self(raw))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawRecord {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawRecord {}

impl Serialize for RawRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl PartialSchema for RawRecord {
    fn schema() -> RefOr<Schema> {
        let any = AdditionalProperties::FreeForm(true);
        ObjectBuilder::new().additional_properties(Some(any)).into()
    }
}

impl ToSchema for RawRecord {}
