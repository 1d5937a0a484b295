//! Connection to the API server, and the translation of its errors.

use std::{future::Future, sync::Arc, time::Duration};

use kube::{
    Client, Config, Error as ApiError,
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
};
use tokio::sync::Mutex;

use super::{EngineError, KubernetesSettings};
use crate::engine::with_sources;

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Connection that is made on first use, and again after a failure.
#[derive(Clone)]
pub(super) struct Connection {
    settings: Arc<KubernetesSettings>,
    made: Arc<Mutex<Option<Made>>>,
}

#[derive(Clone)]
struct Made {
    client: Client,
    endpoint: String,
}

impl Connection {
    pub(super) fn new(settings: Arc<KubernetesSettings>) -> Self {
        Self {
            settings,
            made: Arc::default(),
        }
    }

    /// Returns the client.
    pub(super) async fn client(&self) -> Result<Client, EngineError> {
        Ok(self.made().await?.client)
    }

    /// Returns the URL of the API server, or the source of the configuration as long as it is not known.
    pub(super) async fn endpoint(&self) -> String {
        match &*self.made.lock().await {
            Some(made) => made.endpoint.clone(),
            None => self.source(),
        }
    }

    fn source(&self) -> String {
        match &self.settings.kubeconfig {
            Some(path) => format!("the cluster of {}", path.display()),
            None => "the cluster of this pod".to_owned(),
        }
    }

    async fn made(&self) -> Result<Made, EngineError> {
        let mut made = self.made.lock().await;
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let refused = |reason: String| EngineError::Refused {
            action: format!("connect to {}", self.source()),
            reason,
        };
        let config = match &self.settings.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| refused(with_sources(&error)))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| refused(with_sources(&error)))?
            }
            None => Config::incluster().map_err(|error| {
                refused(format!(
                    "{error}; run the worker in a pod with a service account, or name a file with `assay.kubernetes.kubeconfig`"
                ))
            })?,
        };
        let endpoint = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| refused(with_sources(&error)))?;
        Ok(made.insert(Made { client, endpoint }).clone())
    }

    /// Makes one request, and translates its error.
    pub(super) async fn call<T>(
        &self,
        action: &str,
        request: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, EngineError> {
        self.try_call(action, request)
            .await?
            .map_err(|status| of_status(action, &status))
    }

    /// Makes one request; returns the API server's own refusal as it is.
    pub(super) async fn try_call<T>(
        &self,
        action: &str,
        request: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Result<T, Box<Status>>, EngineError> {
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(ApiError::Api(status))) => Ok(Err(status)),
            Ok(Err(error)) => Err(self.translate(action, &error).await),
            Err(_) => Err(EngineError::Unreachable {
                endpoint: self.endpoint().await,
                reason: format!("no answer within {} seconds", REQUEST_TIMEOUT.as_secs()),
            }),
        }
    }

    /// Translates an error. After a broken connection the configuration is read again: it may have changed.
    pub(super) async fn translate(&self, action: &str, error: &ApiError) -> EngineError {
        match error {
            ApiError::Api(status) => of_status(action, status),
            ApiError::HyperError(_) | ApiError::Service(_) => {
                let endpoint = self.endpoint().await;
                *self.made.lock().await = None;
                EngineError::Unreachable {
                    endpoint,
                    reason: with_sources(error),
                }
            }
            other => EngineError::Failed {
                action: action.to_owned(),
                reason: with_sources(other),
            },
        }
    }
}

/// Translates a refusal of the API server.
pub(super) fn of_status(action: &str, status: &Status) -> EngineError {
    let action = action.to_owned();
    let reason = status.message.trim().to_owned();
    let is_quota = status.code == 403 && reason.contains("exceeded quota");
    match status.code {
        // Temporary: an object that is just changing, an overloaded server, a token that is renewed, a quota
        // that others use.
        401 | 404 | 408 | 409 | 425 | 429 => EngineError::Failed { action, reason },
        400..=499 if !is_quota => EngineError::Refused { action, reason },
        _ => EngineError::Failed { action, reason },
    }
}

/// Returns true if an object of the name exists already.
pub(super) fn is_there(status: &Status) -> bool {
    status.is_already_exists()
}

/// Returns true if an object does not exist, or is another one of the same name.
pub(super) fn is_gone(status: &Status) -> bool {
    status.code == 404 || status.code == 409
}
