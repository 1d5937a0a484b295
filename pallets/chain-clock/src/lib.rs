//! Active time: the chain's timestamp with its standstills taken out, and the epochs it is divided into.

#![cfg_attr(not(feature = "std"), no_std)]
