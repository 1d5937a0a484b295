//! The token's units.

pub use polkadot_sdk::sp_runtime::Rounding;

/// An amount in plancks, the indivisible unit of ASY.
pub type Balance = u128;

/// Decimal places of the token as people read it.
pub const TOKEN_DECIMALS: u8 = 12;

/// The token's symbol.
pub const TOKEN_SYMBOL: &str = "ASY";

/// One ASY, in plancks.
pub const ASY: Balance = 1_000_000_000_000;

/// Total of all plancks that the emission ever mints: one thousand million ASY.
pub const EMISSION_CAP: Balance = 1_000_000_000 * ASY;

/// One thousandth of an ASY, in plancks.
pub const MILLI_ASY: Balance = ASY / 1_000;

/// One millionth of an ASY, in plancks.
pub const MICRO_ASY: Balance = MILLI_ASY / 1_000;

/// Network prefix of addresses: 42, the one that needs no registration.
pub const SS58_PREFIX: u16 = 42;
