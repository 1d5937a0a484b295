//! Images that are kept at the engine after their jobs, within a bound.
//!
//! Only images that this worker pulled are removed, the least recently used first, and none that a container
//! needs or that a job is about to use. The file `images.json` of the state folder has the time of each one's
//! last use. The file may be lost: images that it does not name are never removed.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use assay_client::manifest::RegistryLogin;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{ContainerEngine, EngineError, digest_part},
    files::Disk,
};

/// Name of the file.
const IMAGES: &str = "images.json";

/// Share of the engine's file system that images may fill where the configuration names no bound.
const DEFAULT_SHARE: u64 = 4;

/// Images that this worker pulled. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ImageCache(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Folder of the file; `None` if it is kept in memory only.
    folder: Option<PathBuf>,
    disk: Disk,
    /// Bound in bytes; `None` for a share of the engine's file system.
    bound: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Time of the last use by name, in seconds since 1970.
    used: BTreeMap<String, u64>,
    /// Number of jobs that are about to use an image, by its content.
    pins: HashMap<String, usize>,
}

/// Content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFile {
    /// Time of each image's last use, in seconds since 1970.
    used: BTreeMap<String, u64>,
}

/// Keeps an image at the engine while it exists.
#[derive(Debug)]
pub struct ImagePin {
    cache: ImageCache,
    content: String,
}

impl Drop for ImagePin {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(pins) = state.pins.get_mut(&self.content) {
            *pins -= 1;
            if *pins == 0 {
                state.pins.remove(&self.content);
            }
        }
    }
}

/// Returns the digest in an image's name, or else the name: the engine finds an image by its digest, so that
/// jobs may share one under several names.
fn content(image: &str) -> &str {
    digest_part(image).unwrap_or(image)
}

/// An image that may be removed.
struct Candidate {
    image: String,
    used_s: u64,
    bytes: u64,
}

impl ImageCache {
    /// Opens the cache of a state folder. `bound` is the room for images in bytes; `None` for a share of the
    /// engine's file system.
    pub fn open(folder: &Path, disk: Disk, bound: Option<u64>) -> Self {
        let read = disk.read_json::<CacheFile>(&folder.join(IMAGES));
        let used = match read {
            Ok(found) => found.whole().map(|file| file.used).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the list of pulled images cannot be read; earlier images are kept");
                BTreeMap::new()
            }
        };
        Self(Arc::new(Shared {
            folder: Some(folder.to_owned()),
            disk,
            bound,
            state: Mutex::new(State {
                used,
                pins: HashMap::new(),
            }),
        }))
    }

    /// Makes an image available by digest, and returns its verified digest; the engine keeps it at least as
    /// long as the pin exists. Removes other images beyond the bound.
    pub async fn pull<E: ContainerEngine>(
        &self,
        engine: &E,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<(ImagePin, [u8; 32]), EngineError> {
        let pin = self.pin(image);
        let was_there = engine.has_image(image, digest).await?;
        // Noted before the pull: one that is cut off may have ended at the engine.
        self.note_use(image, !was_there);
        let verified = engine.pull(image, digest, login).await?;
        if !was_there && let Err(error) = self.keep_to_bound(engine).await {
            tracing::warn!(%error, "removing images beyond `assay.image_cache_gb` failed");
        }
        Ok((pin, verified))
    }

    /// Returns the sizes of all images that could be removed at present, together, in bytes. Images may share
    /// files, so that removing them may free less.
    pub async fn removable_bytes<E: ContainerEngine>(&self, engine: &E) -> Result<u64, EngineError> {
        let candidates = self.candidates(engine).await?;
        Ok(candidates
            .iter()
            .fold(0, |sum, candidate| sum.saturating_add(candidate.bytes)))
    }

    /// Removes images until `bytes` bytes are free on the engine's file system, as far as there are any.
    pub async fn make_room<E: ContainerEngine>(&self, engine: &E, bytes: u64) -> Result<(), EngineError> {
        for candidate in self.candidates(engine).await? {
            let free = engine.disk().await?.map(|disk| disk.free_bytes);
            if free.is_none_or(|free| free >= bytes) {
                break;
            }
            self.remove(engine, &candidate).await?;
        }
        Ok(())
    }

    /// Removes images beyond the bound.
    async fn keep_to_bound<E: ContainerEngine>(&self, engine: &E) -> Result<(), EngineError> {
        let bound = match self.0.bound {
            Some(bound) => bound,
            None => match engine.disk().await? {
                Some(disk) => disk.total_bytes / DEFAULT_SHARE,
                None => return Ok(()),
            },
        };
        let ours = self.candidates_and_pinned(engine).await?;
        let mut total = ours
            .iter()
            .fold(0u64, |sum, (candidate, _)| sum.saturating_add(candidate.bytes));
        for (candidate, is_pinned) in ours {
            if total <= bound {
                break;
            }
            if !is_pinned && self.remove(engine, &candidate).await? {
                total = total.saturating_sub(candidate.bytes);
            }
        }
        Ok(())
    }

    /// Removes an image; returns false if a container or a job needs it.
    async fn remove<E: ContainerEngine>(
        &self,
        engine: &E,
        candidate: &Candidate,
    ) -> Result<bool, EngineError> {
        let image = &candidate.image;
        // A job may have begun to use it since the list was made.
        if self.state().pins.contains_key(content(image)) || !engine.remove_image(image).await? {
            return Ok(false);
        }
        tracing::info!(
            image,
            bytes = candidate.bytes,
            "an image was removed from the cache"
        );
        self.change_used(|used| {
            used.remove(image);
        });
        Ok(true)
    }

    async fn candidates<E: ContainerEngine>(&self, engine: &E) -> Result<Vec<Candidate>, EngineError> {
        let all = self.candidates_and_pinned(engine).await?;
        Ok(all
            .into_iter()
            .filter(|(_, is_pinned)| !is_pinned)
            .map(|(candidate, _)| candidate)
            .collect())
    }

    /// Returns the images that this worker pulled and the engine has, the least recently used first, each
    /// with true if a job is about to use it.
    async fn candidates_and_pinned<E: ContainerEngine>(
        &self,
        engine: &E,
    ) -> Result<Vec<(Candidate, bool)>, EngineError> {
        // Pinned before the list is made: an image that is being pulled is not forgotten.
        let pinned: Vec<String> = self.state().pins.keys().cloned().collect();
        let stored = engine.images().await?;
        let is_stored = |image: &str| stored.iter().any(|stored| stored.is(image));
        let is_pinned = |image: &str| pinned.iter().any(|pinned| pinned == content(image));
        self.change_used(|used| used.retain(|image, _| is_pinned(image) || is_stored(image)));
        let state = self.state();
        let mut found: Vec<_> = state
            .used
            .iter()
            .filter_map(|(image, used_s)| {
                let bytes = stored.iter().find(|stored| stored.is(image))?.bytes;
                let candidate = Candidate {
                    image: image.clone(),
                    used_s: *used_s,
                    bytes,
                };
                Some((candidate, state.pins.contains_key(content(image))))
            })
            .collect();
        found.sort_by_key(|(candidate, _)| candidate.used_s);
        Ok(found)
    }

    fn pin(&self, image: &str) -> ImagePin {
        let content = content(image).to_owned();
        *self.state().pins.entry(content.clone()).or_default() += 1;
        ImagePin {
            cache: self.clone(),
            content,
        }
    }

    /// Notes that an image is used now, if it is one of ours or becomes one.
    fn note_use(&self, image: &str, becomes_ours: bool) {
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.change_used(|used| {
            let is_same = |name: &&String| content(name) == content(image);
            let known = used.keys().find(is_same).cloned();
            if let Some(name) = known.or_else(|| becomes_ours.then(|| image.to_owned())) {
                used.insert(name, now_s);
            }
        });
    }

    fn change_used(&self, change: impl FnOnce(&mut BTreeMap<String, u64>)) {
        let mut state = self.state();
        let before = state.used.clone();
        change(&mut state.used);
        let Some(folder) = self.0.folder.as_ref().filter(|_| state.used != before) else {
            return;
        };
        let file = CacheFile {
            used: state.used.clone(),
        };
        if let Ok(bytes) = serde_json::to_vec(&file) {
            self.0.disk.write_if_possible(folder, IMAGES, &bytes);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::engine::{
        CaptureTarget, Container, ContainerSpec, EngineDisk, EngineInfo, ImageProcess, StoredImage,
    };

    /// An engine with images of 100 bytes on a file system of 1,000.
    #[derive(Default)]
    struct Store {
        images: Mutex<Vec<String>>,
        /// Images that a container needs.
        in_use: Mutex<Vec<String>>,
    }

    impl Store {
        fn images(&self) -> Vec<String> {
            self.images.lock().unwrap().clone()
        }
    }

    impl ContainerEngine for Store {
        async fn ping(&self) -> Result<EngineInfo, EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn has_image(&self, image: &str, _: [u8; 32]) -> Result<bool, EngineError> {
            Ok(self.images().iter().any(|stored| stored == image))
        }

        async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
            Ok(Some(EngineDisk {
                free_bytes: 1_000 - 100 * self.images().len() as u64,
                total_bytes: 1_000,
            }))
        }

        async fn image_process(&self, _: &str) -> Result<ImageProcess, EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn pull(
            &self,
            image: &str,
            digest: [u8; 32],
            _: Option<&RegistryLogin>,
        ) -> Result<[u8; 32], EngineError> {
            if !self.has_image(image, digest).await? {
                self.images.lock().unwrap().push(image.to_owned());
            }
            Ok(digest)
        }

        async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
            let stored = |image: String| StoredImage {
                references: vec![image],
                bytes: 100,
            };
            Ok(Store::images(self).into_iter().map(stored).collect())
        }

        async fn remove_image(&self, image: &str) -> Result<bool, EngineError> {
            if self.in_use.lock().unwrap().iter().any(|used| used == image) {
                return Ok(false);
            }
            self.images.lock().unwrap().retain(|stored| stored != image);
            Ok(true)
        }

        async fn create(&self, _: &ContainerSpec) -> Result<String, EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn start(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn follow(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn unpause(&self, _: &str) -> Result<(), EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn list(&self, _: &str) -> Result<Vec<Container>, EngineError> {
            unreachable!("the cache starts nothing")
        }

        async fn remove(&self, _: &str) -> Result<(), EngineError> {
            unreachable!("the cache starts nothing")
        }
    }

    const DIGEST: [u8; 32] = [1; 32];

    /// Pulls an image, and makes its use older than all later ones.
    async fn pull(cache: &ImageCache, store: &Store, image: &str) -> ImagePin {
        let (pin, digest) = cache.pull(store, image, DIGEST, None).await.unwrap();
        assert_eq!(digest, DIGEST);
        cache.change_used(|used| {
            for used_s in used.values_mut() {
                *used_s -= 10;
            }
        });
        pin
    }

    #[tokio::test]
    async fn least_recently_used_image_goes_first() {
        let (folder, store) = (tempfile::tempdir().unwrap(), Store::default());
        // The provider's own image is never removed. A quarter of the file system holds two others.
        store.images.lock().unwrap().push("own".into());
        let open = || ImageCache::open(folder.path(), Disk::default(), None);
        let cache = open();
        drop(pull(&cache, &store, "own").await);
        drop(pull(&cache, &store, "a").await);
        drop(pull(&cache, &store, "b").await);
        assert_eq!(store.images(), ["own", "a", "b"]);
        drop(pull(&cache, &store, "a").await);
        // The file outlasts the process.
        let cache = open();
        drop(pull(&cache, &store, "c").await);
        assert_eq!(store.images(), ["own", "a", "c"], "b was used before a");
    }

    #[tokio::test]
    async fn image_is_the_same_under_every_name_with_its_digest() {
        let store = Store::default();
        store
            .images
            .lock()
            .unwrap()
            .push("127.0.0.1:1/token/a@sha256:1".into());
        let cache = ImageCache::default();
        cache.note_use("a.example/a@sha256:1", true);
        let pin = cache.pin("b.example/a@sha256:1");
        cache.note_use("b.example/a@sha256:1", false);
        assert_eq!(
            cache.state().used.keys().collect::<Vec<_>>(),
            ["a.example/a@sha256:1"]
        );
        assert_eq!(
            cache.removable_bytes(&store).await.unwrap(),
            0,
            "a job is about to use it"
        );
        drop(pin);
        assert_eq!(cache.removable_bytes(&store).await.unwrap(), 100);
    }

    #[tokio::test]
    async fn image_that_is_needed_stays() {
        let store = Store::default();
        let cache = ImageCache::default();
        let pin = pull(&cache, &store, "about-to-run").await;
        store.in_use.lock().unwrap().push("runs".into());
        drop(pull(&cache, &store, "runs").await);
        drop(pull(&cache, &store, "idle").await);
        drop(pull(&cache, &store, "new").await);
        assert_eq!(store.images(), ["about-to-run", "runs", "new"]);
        drop(pin);
        drop(pull(&cache, &store, "newer").await);
        assert_eq!(store.images(), ["runs", "newer"]);
    }

    #[tokio::test]
    async fn room_is_made_as_far_as_needed() {
        let store = Store::default();
        let cache = ImageCache(Arc::new(Shared {
            bound: Some(10_000),
            ..Shared::default()
        }));
        for image in ["a", "b", "c", "d"] {
            drop(pull(&cache, &store, image).await);
        }
        assert_eq!(cache.removable_bytes(&store).await.unwrap(), 400);
        cache.make_room(&store, 600).await.unwrap();
        assert_eq!(store.images().len(), 4);
        cache.make_room(&store, 750).await.unwrap();
        assert_eq!(store.images(), ["c", "d"]);
        // An image that was removed at the engine is forgotten.
        store.images.lock().unwrap().clear();
        assert_eq!(cache.removable_bytes(&store).await.unwrap(), 0);
        assert!(cache.state().used.is_empty());
    }
}
