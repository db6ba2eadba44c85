//! Argon2id, away from the threads that serve requests.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, Version};
use async_trait::async_trait;
use ring::rand::{SecureRandom, SystemRandom};
use shepherd_ports::authentication::{PasswordError, PasswordHasher};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory of one hash in KiB: 19 MiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a hash.
const OUTPUT_LEN: usize = 32;
/// Bytes of a salt.
const SALT_LEN: usize = 16;

/// The current parameters; every hash carries its own.
const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_LEN)) {
    Ok(params) => params,
    Err(_) => panic!("the parameters are within the limits of Argon2"),
};

/// Hashes and verifies passwords with Argon2id, on threads for blocking work and only so many at a time: the rest
/// waits, so that a wave of logins can take neither all memory nor all cores.
#[derive(Debug)]
pub struct Argon2Hasher {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
    dummy: String,
}

impl Argon2Hasher {
    /// How many passwords are hashed at a time unless said otherwise.
    pub const DEFAULT_CONCURRENCY: usize = 2;

    /// A hasher that works on at most `concurrency` passwords at a time, and on one at least.
    ///
    /// # Errors
    /// When the dummy hash cannot be written, which the fixed parameters rule out.
    pub fn new(concurrency: usize) -> Result<Self, PasswordError> {
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS),
            permits: Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            dummy: dummy_hash().map_err(failed)?,
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Argon2<'static>) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(failed)?;
        let argon2 = self.argon2.clone();
        let worker = tokio::task::spawn_blocking(move || {
            // The permit goes along: work whose caller has left still holds its memory until it is done.
            let _permit = permit;
            work(argon2)
        });
        worker.await.map_err(failed)?
    }
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        self.run(move |argon2| {
            let mut salt = [0; SALT_LEN];
            SystemRandom::new().fill(&mut salt).map_err(failed)?;
            let hash: PasswordHash = argon2
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map_err(failed)?;
            Ok(hash.to_string())
        })
        .await
    }

    async fn verify(&self, password: Zeroizing<String>, hash: Option<String>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let matches = self
            .run(move |argon2| {
                let hash = PasswordHash::new(&hash).map_err(failed)?;
                match argon2.verify_password(password.as_bytes(), &hash) {
                    Ok(()) => Ok(true),
                    Err(password_hash::Error::PasswordInvalid) => Ok(false),
                    Err(error) => Err(failed(error)),
                }
            })
            .await?;
        Ok(known && matches)
    }

    fn needs_rehash(&self, hash: &str) -> bool {
        !PasswordHash::new(hash).is_ok_and(|hash| is_current(&hash))
    }
}

fn is_current(hash: &PasswordHash) -> bool {
    hash.algorithm == ARGON2ID_IDENT
        && hash.version == Some(Version::V0x13.into())
        && hash.salt.is_some_and(|salt| salt.len() == SALT_LEN)
        && Params::try_from(hash).is_ok_and(|params| params == PARAMS)
}

/// A hash of the current parameters that no password is known for; checking one against it takes as long as against
/// any other.
fn dummy_hash() -> Result<String, password_hash::Error> {
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&PARAMS)?,
        salt: Some(Salt::new(&[0; SALT_LEN])?),
        hash: Some(Output::new(&[0; OUTPUT_LEN])?),
    };
    Ok(hash.to_string())
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError(error.to_string())
}
