//! `GET /v1/jobs/{id}/artifacts…`: the content of a job's output folder, during its run and afterwards.
//!
//! | path | response |
//! |---|---|
//! | `…/artifacts` | the list of files and links as JSON, with the root hash that covers them |
//! | `…/artifacts/archive` | all of them as a tar archive, which depends on the root hash alone |
//! | `…/artifacts/files/<path>` | one file; one whose path is no UTF-8 is in the archive only |
//!
//! Archive and files have their BLAKE3 (of the archive: the root hash) as entity tag and are served by
//! ranges, so that a download that broke off goes on with `Range` and `If-Range`. The job may write to the
//! folder meanwhile: the worker cuts off a response whose files became shorter or were replaced, and the
//! client compares the hashes of the received files with the list. See [`crate::artifacts`] for the hashes.
//!
//! After the job's end the same paths serve the output that the worker keeps, byte for byte, as long as it
//! keeps the job's log. The response is 410 with the reason for an output that is not kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use utoipa::{
    IntoParams, IntoResponses, OpenApi, ToSchema,
    openapi::{RefOr, ResponseBuilder},
};

use super::{
    auth::Owner,
    errors::{ApiError, ApiPath, Refusal},
    openapi::refusal,
    produced::{self, Sink},
    ranges::{Part, is_known, part},
    seats::Seat,
    streams::{JobStreams, MissingOutput},
    tokens::TokenLife,
};
use crate::artifacts::{ArtifactError, Entry, EntryKind, Listing, Output};

/// Number of jobs whose last listing is kept, so that files are not hashed again.
const MAX_KEPT_LISTINGS: usize = 4;

pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Owner: FromRequestParts<S>,
{
    Router::new()
        .route("/v1/jobs/{id}/artifacts", get(list))
        .route("/v1/jobs/{id}/artifacts/archive", get(archive))
        .route("/v1/jobs/{id}/artifacts/files/{*path}", get(file))
}

#[derive(OpenApi)]
#[openapi(paths(list, archive, file))]
struct Description;

/// Returns the description of the routes in OpenAPI.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Headers of requests for content that is served by ranges.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it is only described")]
struct RangeHeaders {
    /// One range of bytes, such as `bytes=1000-`; any other range is answered with the whole.
    #[param(rename = "Range")]
    range: Option<String>,
    /// Entity tag of the content that the range belongs to; the response is the whole if the content has
    /// changed.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
    /// Entity tags of contents that the client has.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// Answers other than the content, of paths that are served by ranges.
struct RangeAnswers;

impl IntoResponses for RangeAnswers {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let known = ResponseBuilder::new()
            .description("The client has it already")
            .build();
        let refused = ["400", "401", "403", "404", "409", "410", "416"].map(|code| (code, refusal("")));
        std::iter::once(("304", known))
            .chain(refused)
            .map(|(code, answer)| (code.to_owned(), RefOr::T(answer)))
            .collect()
    }
}

/// Last listing of a job's folder, if there is one.
type LastListing = Arc<tokio::sync::Mutex<Option<Arc<Listing>>>>;

/// The last listings. One request at a time lists a job's folder; the others wait for its hashes.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<HashMap<u64, LastListing>>);

impl Listings {
    fn of(&self, job: u64) -> LastListing {
        let mut listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listings.len() >= MAX_KEPT_LISTINGS && !listings.contains_key(&job) {
            // Those in use live on for their requests.
            listings.clear();
        }
        listings.entry(job).or_default().clone()
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        match &error {
            ArtifactError::NotFound | ArtifactError::NotAFile => Self::not_found(error.to_string()),
            ArtifactError::TooMuch { .. } | ArtifactError::Changed => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            ArtifactError::Gone => Self::new(StatusCode::GONE, error.to_string()),
            ArtifactError::Stopped => Self::unavailable(error.to_string()),
            ArtifactError::System(_) => Self::internal(&error),
        }
    }
}

/// Stops work on the disk when its request is given up.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs work on the disk, which looks at the flag from time to time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ApiError> {
    let stop = Arc::<AtomicBool>::default();
    let _guard = StopOnDrop(stop.clone());
    match tokio::task::spawn_blocking(move || work(&stop)).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

impl From<MissingOutput> for ApiError {
    fn from(missing: MissingOutput) -> Self {
        match missing {
            MissingOutput::None => Self::not_found(
                "the job has no output folder: its manifest names none, or the job is gone and its disk with it",
            ),
            MissingOutput::NotKept(reason) => Self::new(StatusCode::GONE, reason),
            MissingOutput::Failed(error) => Self::internal(&error),
        }
    }
}

/// Access to a job's output.
struct Access {
    output: Output,
    seat: Seat,
    life: TokenLife,
    streams: Arc<JobStreams>,
    job: u64,
}

impl Access {
    fn new(streams: Arc<JobStreams>, owner: &Owner) -> Result<Self, ApiError> {
        let job = owner.job;
        let notes = streams.readable(job)?;
        let output = streams.outputs.output(job, &notes.fingerprint)?;
        let seat = streams.downloads.take(job).ok_or_else(|| {
            ApiError::too_many(
                "too many clients read artifacts at once; let another one finish, or try again later",
            )
        })?;
        Ok(Self {
            output,
            seat,
            life: owner.life.clone(),
            streams,
            job,
        })
    }

    /// Lists the output.
    async fn listing(&self) -> Result<Arc<Listing>, ApiError> {
        let last = self.streams.listings.of(self.job);
        let mut last = last.lock().await;
        let (output, known) = (self.output.clone(), last.clone());
        let listing = blocking(move |stop| output.listing(known.as_deref(), stop).map(Arc::new)).await?;
        *last = Some(listing.clone());
        Ok(listing)
    }
}

/// An entry of an output.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    /// The path, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The path's bytes in base 64 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// `file` or `link`.
    kind: &'static str,
    /// Permission bits in octal digits.
    mode: String,
    /// Size of the content in bytes.
    size: u64,
    /// BLAKE3 of the content, hexadecimal.
    blake3: String,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let path = std::str::from_utf8(&entry.path).ok();
        Self {
            path_base64: path.is_none().then(|| BASE64_STANDARD.encode(&entry.path)),
            path: path.map(str::to_owned),
            kind: match entry.kind {
                EntryKind::File => "file",
                EntryKind::Link(_) => "link",
            },
            mode: format!("{:04o}", entry.mode),
            size: entry.size,
            blake3: hex::encode(entry.hash),
        }
    }
}

/// Content of an output folder.
#[derive(Debug, Serialize, ToSchema)]
struct ListingView {
    /// Root hash, hexadecimal.
    root: String,
    /// Length of the archive.
    archive_bytes: u64,
    /// Number of sockets, pipes and devices, which are left out.
    skipped: u64,
    /// Files and links, sorted by the bytes of their paths.
    entries: Vec<EntryView>,
}

/// Returns the files and links of a job's output folder, with the root hash that covers them.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/artifacts",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    responses(
        (status = 200, body = ListingView),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
        (status = 409, body = Refusal),
        (status = 410, body = Refusal),
    ),
    security(("token" = [])),
)]
async fn list(owner: Owner, Extension(streams): Extension<Arc<JobStreams>>) -> Result<Response, ApiError> {
    let access = Access::new(streams, &owner)?;
    let listing = access.listing().await?;
    let view = ListingView {
        root: hex::encode(listing.root_hash()),
        archive_bytes: listing.archive_len(),
        skipped: listing.skipped(),
        entries: listing.entries().iter().map(EntryView::from).collect(),
    };
    Ok(Json(view).into_response())
}

/// Returns all files and links as a tar archive, which depends on the root hash alone.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/artifacts/archive",
    params(("id" = u64, Path, description = "Number of the job", example = 5), RangeHeaders),
    responses(
        (
            status = 200,
            description = "The archive; its entity tag is the root hash",
            body = Vec<u8>,
            content_type = "application/x-tar"
        ),
        (status = 206, description = "A part of it", body = Vec<u8>, content_type = "application/x-tar"),
        RangeAnswers,
    ),
    security(("token" = [])),
)]
async fn archive(
    owner: Owner,
    Extension(streams): Extension<Arc<JobStreams>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let access = Access::new(streams, &owner)?;
    let listing = access.listing().await?;
    let content = Content {
        hash: listing.root_hash(),
        length: listing.archive_len(),
        kind: "application/x-tar",
        name: Some(format!("job-{}.tar", owner.job)),
    };
    let output = access.output.clone();
    content
        .respond(&headers, access, move |start, end| {
            let mut reader = output.archive_range(listing, start, end)?;
            Ok(Box::new(move || reader.next_piece()) as Pieces)
        })
        .await
}

/// Returns one regular file.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/artifacts/files/{path}",
    params(
        ("id" = u64, Path, description = "Number of the job", example = 5),
        ("path" = String, Path, description = "Path below the output folder; its slashes may stay as they are"),
        RangeHeaders,
    ),
    responses(
        (
            status = 200,
            description = "The file; its entity tag is the BLAKE3 of its content",
            body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 206, description = "A part of it", body = Vec<u8>, content_type = "application/octet-stream"),
        RangeAnswers,
    ),
    security(("token" = [])),
)]
async fn file(
    owner: Owner,
    Extension(streams): Extension<Arc<JobStreams>>,
    ApiPath((_, path)): ApiPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let access = Access::new(streams, &owner)?;
    let known = access.streams.listings.of(access.job).lock().await.clone();
    let output = access.output.clone();
    let entry = blocking(move |stop| output.entry(path.as_bytes(), known.as_deref(), stop)).await?;
    let content = Content {
        hash: entry.hash,
        length: entry.size,
        kind: "application/octet-stream",
        name: None,
    };
    let output = access.output.clone();
    content
        .respond(&headers, access, move |start, end| {
            let mut reader = output.file_range(&entry, start, end)?;
            Ok(Box::new(move || reader.next_piece()) as Pieces)
        })
        .await
}

/// Reads the next piece of a response from the disk.
type Pieces = Box<dyn FnMut() -> Result<Option<Vec<u8>>, ArtifactError> + Send>;

/// Content that is served by ranges.
struct Content {
    hash: [u8; 32],
    length: u64,
    kind: &'static str,
    /// Name of a file for those who save it.
    name: Option<String>,
}

impl Content {
    /// Responds with the part that the request asks for. `open` begins to read a part.
    async fn respond(
        self,
        request: &HeaderMap,
        access: Access,
        open: impl FnOnce(u64, u64) -> Result<Pieces, ArtifactError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let value = |text: String| {
            // Hexadecimal digits, numbers and names of our own.
            HeaderValue::try_from(text).map_err(|error| ApiError::internal(&error))
        };
        let tag = value(format!("\"{}\"", hex::encode(self.hash)))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, tag.clone());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        let disposition = match self.name {
            Some(name) => format!("attachment; filename=\"{name}\""),
            None => "attachment".to_owned(),
        };
        headers.insert(header::CONTENT_DISPOSITION, value(disposition)?);
        if is_known(request, &tag) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        let (code, range) = match part(request, self.length, &tag) {
            Part::Whole => (StatusCode::OK, 0..self.length),
            Part::Bytes(range) => {
                let told = format!("bytes {}-{}/{}", range.start, range.end - 1, self.length);
                headers.insert(header::CONTENT_RANGE, value(told)?);
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Part::Nowhere => {
                headers.insert(header::CONTENT_RANGE, value(format!("bytes */{}", self.length))?);
                let refused = ApiError::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    format!("there are {} bytes", self.length),
                );
                return Ok((headers, refused).into_response());
            }
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        let body = if range.is_empty() {
            Body::empty()
        } else {
            let pieces = blocking(move |_| open(range.start, range.end)).await?;
            let patience = access.streams.limits.patience;
            let job = access.job;
            produced::body(access.seat, access.life, patience, move |sink| {
                send(job, pieces, sink)
            })
        };
        Ok((code, headers, body).into_response())
    }
}

/// Sends pieces as the client takes them.
async fn send(job: u64, mut pieces: Pieces, sink: Sink) {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let piece = pieces();
            (pieces, piece)
        });
        let Ok((back, piece)) = read.await else { return };
        pieces = back;
        match piece {
            Ok(Some(piece)) => {
                if sink.send(piece).await.is_err() {
                    return;
                }
            }
            Ok(None) => return sink.finish(),
            Err(error) => {
                tracing::info!(job, %error, "sending artifacts broke off");
                return;
            }
        }
    }
}
