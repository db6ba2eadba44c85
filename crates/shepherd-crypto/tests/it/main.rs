//! What the key ring promises, tried from the outside.

mod keys;
mod random;
mod sealing;
