//! Sealing of columns.

use shepherd_domain::ids::VmId;
use zeroize::Zeroizing;

/// A sealed value and the key that sealed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The envelope.
    pub bytes: Vec<u8>,
    /// The key id, also inside the envelope.
    pub key_id: String,
}

/// Why a value could not be opened or sealed. It says nothing about the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Not an envelope this version knows.
    #[error("the sealed value has an unknown form")]
    Malformed,
    /// No key with this id is loaded.
    #[error("no key with id {0} is loaded")]
    UnknownKey(String),
    /// The value was changed, or belongs to another row or column.
    #[error("the sealed value does not belong here or was changed")]
    Rejected,
    /// The system random source failed.
    #[error("the system random source failed")]
    Random,
}

/// The place a sealed value belongs to; it is authenticated with the value, so a value cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPlace {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// Row id.
    pub row: String,
}

/// Seals and opens columns.
pub trait Cipher: Send + Sync {
    /// Seals a value for a place with the active key.
    fn seal(&self, place: &SealedPlace, value: &[u8]) -> Result<Sealed, CipherError>;
    /// Opens a value of a place with whichever loaded key sealed it.
    fn open(&self, place: &SealedPlace, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError>;
    /// A new secret that nobody can guess: 64 hex characters, 256 bits.
    fn new_secret(&self) -> Result<Zeroizing<String>, CipherError>;
    /// A new password of so many characters, four at least, for a guest: letters, digits and marks that nobody mistakes
    /// for one another, each kind among them.
    fn new_password(&self, length: usize) -> Result<Zeroizing<String>, CipherError>;
}

/// Seals what a browser carries to open a console, with keys that seal nothing else.
pub trait ConsoleSealer: Send + Sync {
    /// A token for a machine: URL-safe text that holds the claims and that nobody else can make or read.
    fn seal_token(&self, vm: VmId, claims: &[u8]) -> Result<Zeroizing<String>, CipherError>;
    /// The machine and the claims of a token, with whichever loaded key sealed it.
    ///
    /// # Errors
    /// [`CipherError::Malformed`] when it cannot be a token, [`CipherError::Rejected`] when it was changed.
    fn open_token(&self, token: &str) -> Result<(VmId, Zeroizing<Vec<u8>>), CipherError>;
}

/// A key of the installation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The first eight hex characters of the key's SHA-256.
    pub key_id: String,
    /// Whether it seals; all others only open.
    pub active: bool,
    /// The key, sealed under the installation's own one; `None` for the installation's own one.
    pub material: Option<Vec<u8>>,
}

/// The keys a process holds. The installation's own key (ENCRYPTION_KEY) never changes while it runs; data keys come
/// and go.
pub trait KeyStore: Send + Sync {
    /// Id of the installation's own key.
    fn root_id(&self) -> String;
    /// Id of the key that seals.
    fn active_id(&self) -> String;
    /// Makes a data key and seals it under the installation's own one. It is not used before it is installed.
    fn generate(&self) -> Result<StoredKey, CipherError>;
    /// Whether the installation's own key, as this process has it, opens this stored key.
    fn opens(&self, stored: &StoredKey) -> bool;
    /// Holds these keys and no others, the installation's own one apart. What is held already is not opened again.
    ///
    /// # Errors
    /// When one cannot be opened; then nothing has changed.
    fn install(&self, keys: &[StoredKey]) -> Result<(), CipherError>;
}

/// Digests that are not secrets themselves.
pub trait Digests: Send + Sync {
    /// SHA-256, lower-case hex.
    fn sha256_hex(&self, bytes: &[u8]) -> String;
    /// HMAC-SHA256 under a key of the installation, lower-case hex: names somebody without naming the name.
    fn keyed_hex(&self, text: &str) -> String;
    /// HMAC-SHA256 under a key of somebody else's, lower-case hex: proves to who knows the key that these bytes are
    /// ours.
    fn hmac_hex(&self, key: &[u8], bytes: &[u8]) -> String;
    /// Whether a hex text is the HMAC-SHA256 of these bytes under a key of somebody else's. It takes as long for a text
    /// that is nearly right as for one that is not.
    fn is_hmac_hex(&self, key: &[u8], bytes: &[u8], hex: &str) -> bool;
}
