//! Connection and key.

use std::path::PathBuf;

use assay_client::{
    ChainClient,
    consumer::Consumer,
    keys::{self, KeyError, SecretKey},
    units::format_asy,
};
use pyo3::{PyResult, Python, pyclass, pymethods};
use serde_json::json;

use crate::{
    errors::{InvalidKeyError, Raise},
    runtime::wait,
};

/// Connection to one chain, and the key of the account that pays.
#[pyclass(frozen, module = "depin_compute_lib._core")]
pub(crate) struct Client {
    pub(crate) consumer: Consumer,
}

#[pymethods]
impl Client {
    /// Connects to the node at a WebSocket URL. The key is a text, or in a file of polkadot.js that a
    /// password opens.
    #[new]
    #[pyo3(signature = (endpoint, secret=None, key_file=None, password=None))]
    fn new(
        py: Python<'_>,
        endpoint: &str,
        secret: Option<&str>,
        key_file: Option<PathBuf>,
        password: Option<&str>,
    ) -> PyResult<Self> {
        let key = read_key(secret, key_file, password)?;
        let consumer = wait(py, async {
            let client = ChainClient::connect(endpoint).await.map_err(Raise::raise)?;
            if key.is_development && !client.is_development().await.map_err(Raise::raise)? {
                let chain = client.chain_name().await.map_err(Raise::raise)?;
                return Err(KeyError::PublishedKey { chain }.raise());
            }
            Ok(Consumer::new(client, key.keypair.clone()))
        })?;
        Ok(Self { consumer })
    }

    /// URL of the node.
    #[getter]
    fn endpoint(&self) -> String {
        self.consumer.client().url().to_owned()
    }

    /// Address of the account that pays.
    #[getter]
    fn address(&self) -> String {
        self.consumer.account().to_string()
    }

    /// Hash of the chain's first block.
    #[getter]
    fn genesis_hash(&self) -> String {
        let digits: String = self
            .consumer
            .client()
            .genesis_hash()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("0x{digits}")
    }

    /// Returns the account's balances in ASY, as JSON.
    fn balance(&self, py: Python<'_>) -> PyResult<String> {
        let account = self.consumer.account();
        let balance = wait(py, self.consumer.client().balance(&account.0))?;
        Ok(json!({
            "free": asy(balance.free),
            "held": asy(balance.held),
            "frozen": asy(balance.frozen),
        })
        .to_string())
    }
}

fn read_key(secret: Option<&str>, key_file: Option<PathBuf>, password: Option<&str>) -> PyResult<SecretKey> {
    match (secret, key_file) {
        (Some(_), Some(_)) => Err(InvalidKeyError::new_err(
            "private_key and key_file are both given: keep one",
        )),
        (Some(secret), None) => keys::read_secret(secret).map_err(Raise::raise),
        (None, Some(path)) => match password {
            Some(password) => keys::load_polkadot_js_file(&path, password).map_err(Raise::raise),
            None => Ok(SecretKey {
                keypair: keys::load_key_file(&path).map_err(Raise::raise)?,
                is_development: false,
            }),
        },
        (None, None) => Err(InvalidKeyError::new_err(
            "no key is given: pass private_key=\"…\" or key_file=\"…\", or on a development chain private_key=\"//Alice\"",
        )),
    }
}

/// Writes plancks as a decimal number of ASY.
pub(crate) fn asy(plancks: u128) -> String {
    format_asy(plancks).trim_end_matches(" ASY").to_owned()
}

/// Reads JSON of the package's Python part.
pub(crate) fn parse(text: &str) -> PyResult<serde_json::Value> {
    serde_json::from_str(text).map_err(Raise::raise)
}
