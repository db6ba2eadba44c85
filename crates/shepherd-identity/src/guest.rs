//! SHA-512-crypt: what every Linux keeps its passwords in.

use std::sync::Arc;

use async_trait::async_trait;
use ring::rand::{SecureRandom, SystemRandom};
use sha_crypt::{PasswordHasher as _, ShaCrypt};
use shepherd_ports::authentication::{GuestPasswordHasher, PasswordError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Bytes of a salt. They become 16 letters, the most that crypt(3) looks at: a guest would cut a longer salt off, and
/// then no password would match the hash any more.
const SALT_LEN: usize = 12;
/// How many passwords are hashed at a time.
const CONCURRENCY: usize = 2;

/// Hashes passwords of guests with SHA-512-crypt and its 5000 rounds, on threads for blocking work and only so many at a
/// time.
#[derive(Debug)]
pub struct Sha512CryptHasher {
    permits: Arc<Semaphore>,
}

impl Default for Sha512CryptHasher {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
        }
    }
}

#[async_trait]
impl GuestPasswordHasher for Sha512CryptHasher {
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(failed)?;
        let worker = tokio::task::spawn_blocking(move || {
            // The permit goes along: work whose caller has left still takes its core until it is done.
            let _permit = permit;
            salted_hash(&password)
        });
        worker.await.map_err(failed)?
    }
}

fn salted_hash(password: &str) -> Result<String, PasswordError> {
    let mut salt = [0; SALT_LEN];
    SystemRandom::new().fill(&mut salt).map_err(failed)?;
    let hash = ShaCrypt::SHA512
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(failed)?;
    Ok(hash.as_str().to_owned())
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError(error.to_string())
}
