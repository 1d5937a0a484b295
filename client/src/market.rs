//! The market's search: machines that meet a consumer's requirements, best first, and the reasons against
//! others.
//!
//! The node searches; other nodes than Assay's cannot. `assay_primitives::market` defines requirements and
//! offers, and their form in JSON.
//!
//! ```no_run
//! use assay_client::{
//!     ChainClient,
//!     market::{FindOptions, Requirements},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = ChainClient::connect("ws://127.0.0.1:9944").await?;
//! let wanted = Requirements {
//!     gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().map_err(|_| "too long")?),
//!     min_free_slots: 2,
//!     ..Requirements::default()
//! };
//! let mut pages = client.offer_pages(wanted, FindOptions::default());
//! while let Some(page) = pages.next().await? {
//!     for offer in page.offers {
//!         println!("machine {} of {}", offer.machine, offer.provider);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use assay_primitives::{job::JobId, machine::MachineId, market};
pub use assay_primitives::{
    job::{OpenOrder, OpenOrderPage},
    machine::{ClassName, Region, ServiceRecord},
    market::{
        Cursor, FULL_PPM, Gap, MAX_NODES, MAX_PAGE_OFFERS, Mismatch, Near, PassedOver, Requirements, TeeKind,
        TeeKinds,
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use subxt::{
    config::substrate::H256,
    rpcs::{
        self, RpcClient,
        client::{RpcParams, rpc_params},
    },
};

use crate::{
    client::{ChainClient, state_error},
    error::Error,
    types::{AccountId, as_hex},
};

/// A machine as the market shows it.
pub type MachineView = market::MachineView<AccountId>;

/// Error code of JSON-RPC for an unknown method.
const METHOD_NOT_FOUND: i32 = -32_601;

/// Error code of JSON-RPC for invalid parameters.
const INVALID_PARAMETERS: i32 = -32_602;

/// Options of a search.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindOptions {
    /// Maximum number of offers, at most [`MAX_PAGE_OFFERS`]; `None` for the node's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// [`FoundMachines::next`] of the page before.
    pub cursor: Option<Cursor>,
    /// True to list the machines that were passed over, with the reasons.
    pub explain: bool,
    /// Hash of the block whose state is searched; the best one when `None`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_optional_hash"
    )]
    pub at: Option<[u8; 32]>,
}

fn write_optional_hash<S: Serializer>(hash: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    match hash {
        Some(hash) => as_hex(hash, serializer),
        None => serializer.serialize_none(),
    }
}

fn read_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    H256::deserialize(deserializer).map(|hash| hash.0)
}

/// A page of offers, best first: by uptime, then by price.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundMachines {
    /// Hash of the block whose state was searched.
    #[serde(serialize_with = "as_hex", deserialize_with = "read_hash")]
    pub at: [u8; 32],
    /// Machines that meet every requirement.
    pub offers: Vec<MachineView>,
    /// Cursor of the next page; `None` after the last. A page may be short, even empty, and still have a next
    /// one.
    pub next: Option<Cursor>,
    /// Machines that were looked at and not offered, with the reasons; none unless [`FindOptions::explain`]
    /// asks for them.
    #[serde(default)]
    pub passed_over: Vec<PassedOver>,
}

/// The pages of a search, all of the state of one block, so that they fit together exactly.
pub struct OfferPages {
    rpc: RpcClient,
    requirements: Requirements,
    options: FindOptions,
    is_over: bool,
}

impl OfferPages {
    /// Returns the next page; `None` after the last.
    ///
    /// Nodes prune the state of old blocks: after minutes between two pages this may fail with
    /// [`Error::BlockUnavailable`].
    pub async fn next(&mut self) -> Result<Option<FoundMachines>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let page = find(&self.rpc, &self.requirements, &self.options).await?;
        self.options.at = Some(page.at);
        self.options.cursor = page.next;
        self.is_over = page.next.is_none();
        Ok(Some(page))
    }
}

impl ChainClient {
    /// Returns a page of machines that meet the requirements, best first.
    pub async fn find_machines(
        &self,
        requirements: &Requirements,
        options: &FindOptions,
    ) -> Result<FoundMachines, Error> {
        find(self.rpc(), requirements, options).await
    }

    /// Returns all machines that meet the requirements, page by page.
    pub fn offer_pages(&self, requirements: Requirements, options: FindOptions) -> OfferPages {
        OfferPages {
            rpc: self.rpc().clone(),
            requirements,
            options,
            is_over: false,
        }
    }

    /// Returns a machine as the market shows it; `None` if there is no such machine.
    pub async fn machine_view(&self, machine: MachineId) -> Result<Option<MachineView>, Error> {
        ask(self.rpc(), "assay_machine", rpc_params![machine], None).await
    }

    /// Returns the requirements that a machine does not meet, an empty list if it would be offered; `None` if
    /// there is no such machine.
    pub async fn explain(
        &self,
        requirements: &Requirements,
        machine: MachineId,
    ) -> Result<Option<Vec<Mismatch>>, Error> {
        let parameters = rpc_params![requirements, machine];
        ask(self.rpc(), "assay_explain", parameters, None).await
    }

    /// Returns a page of open orders that a machine can take now, at its ask or more. `cursor` is
    /// [`OpenOrderPage::next`] of the page before.
    pub async fn open_orders(
        &self,
        machine: MachineId,
        cursor: Option<JobId>,
    ) -> Result<OpenOrderPage, Error> {
        open_orders(self.rpc(), machine, cursor).await
    }
}

async fn open_orders(
    rpc: &RpcClient,
    machine: MachineId,
    cursor: Option<JobId>,
) -> Result<OpenOrderPage, Error> {
    let parameters = rpc_params![machine, serde_json::json!({ "cursor": cursor })];
    ask(rpc, "assay_openOrders", parameters, None).await
}

async fn find(
    rpc: &RpcClient,
    requirements: &Requirements,
    options: &FindOptions,
) -> Result<FoundMachines, Error> {
    let parameters = rpc_params![requirements, options];
    ask(rpc, "assay_findMachines", parameters, options.at).await
}

/// Asks the node. `at` is the block that the parameters name.
async fn ask<T: DeserializeOwned>(
    rpc: &RpcClient,
    method: &str,
    parameters: RpcParams,
    at: Option<[u8; 32]>,
) -> Result<T, Error> {
    rpc.request(method, parameters)
        .await
        .map_err(|error| refusal(method, at, error))
}

fn refusal(method: &str, at: Option<[u8; 32]>, error: rpcs::Error) -> Error {
    let incompatible = |reason: String| Error::IncompatibleNode {
        method: method.to_owned(),
        reason,
    };
    match error {
        rpcs::Error::User(user) if user.code == METHOD_NOT_FOUND => incompatible(user.message),
        rpcs::Error::User(user) if user.code == INVALID_PARAMETERS => {
            let detail = user.data.as_ref().map_or("", |data| data.get()).trim_matches('"');
            let separator = if detail.is_empty() { "" } else { ": " };
            Error::SearchRefused {
                reason: format!("{}{separator}{detail}", user.message),
            }
        }
        rpcs::Error::Deserialization(error) => incompatible(error.to_string()),
        error => {
            let block = at.map_or_else(|| "best".to_owned(), |hash| format!("0x{}", hex::encode(hash)));
            state_error(block, error.into())
        }
    }
}

/// Reads the name of a hardware class, in letters of any case.
pub fn parse_class_name(text: &str) -> Result<ClassName, String> {
    let name = text.to_ascii_uppercase();
    let is_valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    bounded_code(&name, is_valid).ok_or_else(|| {
        format!(
            "{text:?} is not the name of a hardware class: write letters, digits and _, such as NVIDIA_H100"
        )
    })
}

/// Reads a region code, in letters of any case.
pub fn parse_region(text: &str) -> Result<Region, String> {
    let code = text.to_ascii_lowercase();
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    bounded_code(&code, is_valid)
        .ok_or_else(|| format!("{text:?} is not a region code: write letters, digits and -, such as us-east"))
}

/// Returns the text if it has valid characters and a length that the chain accepts.
fn bounded_code<B: TryFrom<Vec<u8>>>(text: &str, is_valid: impl Fn(u8) -> bool) -> Option<B> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || !bytes.iter().copied().all(is_valid) {
        return None;
    }
    bytes.to_vec().try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use assay_primitives::machine::{Location, MachineStatus};
    use serde_json::{Value, json};
    use subxt::rpcs::{
        UserError,
        client::{RawRpcFuture, RawRpcSubscription, RawValue, RpcClientT},
    };

    use super::*;

    /// Node that records its requests and gives a test's answers in turn.
    #[derive(Clone, Default)]
    struct FakeNode {
        asked: Arc<Mutex<Vec<(String, Value)>>>,
        answers: Arc<Mutex<VecDeque<Result<Value, rpcs::Error>>>>,
    }

    impl FakeNode {
        fn answering(answers: impl IntoIterator<Item = Result<Value, rpcs::Error>>) -> (Self, RpcClient) {
            let node = Self::default();
            node.answers.lock().unwrap().extend(answers);
            (node.clone(), RpcClient::new(node))
        }

        fn asked(&self) -> Vec<(String, Value)> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl RpcClientT for FakeNode {
        fn request_raw<'a>(
            &'a self,
            method: &'a str,
            parameters: Option<Box<RawValue>>,
        ) -> RawRpcFuture<'a, Box<RawValue>> {
            let parameters = serde_json::from_str(parameters.unwrap().get()).unwrap();
            self.asked.lock().unwrap().push((method.to_owned(), parameters));
            let answer = self.answers.lock().unwrap().pop_front().unwrap();
            Box::pin(async move { answer.map(|value| RawValue::from_string(value.to_string()).unwrap()) })
        }

        fn subscribe_raw<'a>(
            &'a self,
            _: &'a str,
            _: Option<Box<RawValue>>,
            _: &'a str,
        ) -> RawRpcFuture<'a, RawRpcSubscription> {
            Box::pin(std::future::pending())
        }
    }

    fn refusing(code: i32, message: &str) -> Result<Value, rpcs::Error> {
        Err(rpcs::Error::User(UserError {
            code,
            message: message.to_owned(),
            data: None,
        }))
    }

    /// Returns a page as the node writes it.
    fn page(machine: u64, next: Option<&str>) -> Value {
        json!({
            "at": format!("0x{}", "11".repeat(32)),
            "offers": [{
                "machine": machine,
                "provider": "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
                "workerKey": "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy",
                "sealingKey": format!("0x{}", "22".repeat(32)),
                "status": "active",
                "class": 3,
                "gpuType": "NVIDIA_H100",
                "vramMib": 81_920,
                "cudaCores": 16_896,
                "computeScore": 989,
                "slots": 8,
                "freeSlots": 2,
                "cpuCores": 64,
                "ramMib": 524_288,
                "diskGib": 2_000,
                "uploadMbps": 1_000,
                "downloadMbps": 1_000,
                "region": "us-east",
                "location": { "latitudeMicrodegrees": -33_900_000, "longitudeMicrodegrees": 151_200_000 },
                "distanceM": 1_500,
                "endpoint": "http://127.0.0.1:4001",
                "pricePerSlotHour": "340282366920938463463",
                "nextPricePerSlotHour": "340282366920938463464",
                "nextPriceFromMs": 60_000,
                "pricePerTflopsHour": null,
                "uptimePpm": 995_000,
                "teeKinds": ["sevSnp"],
                "service": {
                    "fulfilled": 5, "cancelled": 4, "notStarted": 3, "abandoned": 2, "unresolved": 1,
                },
            }],
            "next": next,
            "passedOver": [{
                "machine": 9,
                "mismatches": [
                    { "requirement": "status", "found": { "suspended": "inDebt" } },
                    { "requirement": "minVramMib", "wanted": 81_920, "found": 24_576 },
                ],
            }],
        })
    }

    #[tokio::test]
    async fn requirements_are_asked_and_offers_are_read_as_the_node_writes_them() {
        let (node, rpc) = FakeNode::answering([Ok(page(7, None))]);
        let requirements = Requirements {
            gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
            near: Some(Near {
                center: Location {
                    latitude_microdegrees: -33_868_800,
                    longitude_microdegrees: 151_209_300,
                },
                within_km: 50,
            }),
            max_price_per_slot_hour: Some(u128::MAX),
            ..Requirements::default()
        };
        let options = FindOptions {
            limit: Some(5),
            cursor: Some(Cursor([0xab; 25])),
            explain: true,
            at: Some([0x11; 32]),
        };
        let found = find(&rpc, &requirements, &options).await.unwrap();

        let (method, parameters) = node.asked().remove(0);
        assert_eq!(method, "assay_findMachines");
        assert_eq!(parameters[0]["gpuType"], "NVIDIA_H100");
        assert_eq!(
            parameters[0]["near"]["center"]["latitudeMicrodegrees"],
            -33_868_800
        );
        assert_eq!(parameters[0]["maxPricePerSlotHour"], u128::MAX.to_string());
        let options = json!({
            "limit": 5,
            "cursor": format!("0x{}", "ab".repeat(25)),
            "explain": true,
            "at": format!("0x{}", "11".repeat(32)),
        });
        assert_eq!(parameters[1], options);

        assert_eq!((found.at, found.next), ([0x11; 32], None));
        let [offer] = found.offers.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            offer.provider.to_string(),
            "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
        );
        assert_eq!(offer.price_per_slot_hour, 340_282_366_920_938_463_463);
        assert_eq!(
            (offer.next_price_per_slot_hour, offer.next_price_from_ms),
            (Some(340_282_366_920_938_463_464), Some(60_000))
        );
        assert_eq!((offer.service.fulfilled, offer.service.not_started), (5, 3));
        assert!(offer.tee_kinds.contains(TeeKind::SevSnp) && !offer.tee_kinds.contains(TeeKind::Tdx));
        let printed = crate::json::to_value(offer).unwrap();
        assert_eq!(
            printed["worker_key"],
            "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy"
        );
        assert_eq!(printed["tee_kinds"], json!(["sev_snp"]));
        assert_eq!(printed["service"]["not_started"], 3);
        assert_eq!(printed["location"]["latitude_microdegrees"], -33_900_000);
        assert!(matches!(
            found.passed_over[0].mismatches[..],
            [
                Mismatch::Status {
                    found: MachineStatus::Suspended(_)
                },
                Mismatch::MinVramMib(Gap {
                    wanted: 81_920,
                    found: 24_576
                })
            ]
        ));
    }

    #[tokio::test]
    async fn pages_follow_each_other_in_one_block() {
        let cursor = format!("0x{}", "01".repeat(25));
        let (node, rpc) = FakeNode::answering([Ok(page(7, Some(&cursor))), Ok(page(8, None))]);
        let mut pages = OfferPages {
            rpc,
            requirements: Requirements::default(),
            options: FindOptions::default(),
            is_over: false,
        };
        for machine in [7, 8] {
            assert_eq!(pages.next().await.unwrap().unwrap().offers[0].machine, machine);
        }
        assert_eq!(pages.next().await.unwrap(), None);

        let asked = node.asked();
        assert_eq!(asked[0].1[1], json!({ "cursor": null, "explain": false }));
        assert_eq!(asked[1].1[1]["cursor"], cursor);
        assert_eq!(asked[1].1[1]["at"], format!("0x{}", "11".repeat(32)));
        assert_eq!(asked.len(), 2);
    }

    #[tokio::test]
    async fn open_orders_are_read_as_the_node_writes_them() {
        let answer = json!({
            "at": format!("0x{}", "11".repeat(32)),
            "orders": [{
                "job": 7,
                "pricePerSlotHour": "340282366920938463463",
                "slots": 2,
                "maxDurationMs": 3_600_000,
                "closesAtMs": 99,
                "isSealed": true,
            }],
            "next": 7,
        });
        let (node, rpc) = FakeNode::answering([Ok(answer)]);
        let page = open_orders(&rpc, 3, Some(6)).await.unwrap();
        assert_eq!(
            node.asked(),
            [("assay_openOrders".to_owned(), json!([3, { "cursor": 6 }]))]
        );
        assert_eq!(page.next, Some(7));
        let order = OpenOrder {
            job: 7,
            price_per_slot_hour: 340_282_366_920_938_463_463,
            slots: 2,
            max_duration_ms: 3_600_000,
            closes_at_ms: 99,
            is_sealed: true,
        };
        assert_eq!(page.orders, [order]);
    }

    #[tokio::test]
    async fn find_fails_with_the_node_s_words() {
        let requirements = Requirements::default();
        let options = FindOptions::default();
        let (_, rpc) = FakeNode::answering([
            refusing(INVALID_PARAMETERS, "limit: 1 to 100"),
            refusing(METHOD_NOT_FOUND, "Method not found"),
            Ok(json!({ "offers": [] })),
            refusing(-32_603, "State already discarded for 0x11"),
        ]);

        let error = find(&rpc, &requirements, &options).await.unwrap_err();
        assert_eq!(error.to_string(), "the search cannot be made: limit: 1 to 100");
        for cause in ["Method not found", "missing field `at`"] {
            let error = find(&rpc, &requirements, &options).await.unwrap_err();
            assert!(matches!(error, Error::IncompatibleNode { .. }), "{error}");
            assert!(error.to_string().contains(cause), "{error}");
        }
        let error = find(&rpc, &requirements, &options).await.unwrap_err();
        assert!(matches!(error, Error::BlockUnavailable { .. }), "{error}");
    }
}
