//! What a V4 pool's hook may do. The lowest bits of its address say it, and the PoolManager calls it for nothing else (`Hooks.sol`).

use alloy::primitives::Address;

use super::PoolMeta;

/// In place of a fee: the hook says it with each swap (`LPFeeLibrary.DYNAMIC_FEE_FLAG`).
pub const DYNAMIC_FEE: u32 = 0x80_0000;

/// What a hook may be called for, by the bit of its address, as `Hooks.sol` names them.
pub const PERMISSIONS: [(u16, &str); 14] = [
    (1 << 13, "beforeInitialize"),
    (1 << 12, "afterInitialize"),
    (1 << 11, "beforeAddLiquidity"),
    (1 << 10, "afterAddLiquidity"),
    (1 << 9, "beforeRemoveLiquidity"),
    (1 << 8, "afterRemoveLiquidity"),
    (1 << 7, "beforeSwap"),
    (1 << 6, "afterSwap"),
    (1 << 5, "beforeDonate"),
    (1 << 4, "afterDonate"),
    (1 << 3, "beforeSwapReturnDelta"),
    (1 << 2, "afterSwapReturnDelta"),
    (1 << 1, "afterAddLiquidityReturnDelta"),
    (1 << 0, "afterRemoveLiquidityReturnDelta"),
];

/// Bits of [`PERMISSIONS`] with which a hook is called when somebody swaps: it may take, give, charge another fee, trade itself, or refuse.
const OF_SWAPS: u16 = 1 << 7 | 1 << 6 | 1 << 3 | 1 << 2;

/// What the hook at this address is called for, in the order of the bits, highest first.
pub fn permissions(hook: &Address) -> impl Iterator<Item = &'static str> {
    let bits = bits(hook);
    PERMISSIONS.into_iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, name)| name)
}

fn bits(hook: &Address) -> u16 {
    let [.., high, low] = hook.into_array();
    u16::from_be_bytes([high, low])
}

impl PoolMeta {
    /// Each swap has a fee of its own, which its event says.
    #[must_use]
    pub fn has_dynamic_fee(&self) -> bool {
        self.hooks.is_some() && self.fee_pips == DYNAMIC_FEE
    }

    /// Its hook has a say in what a swap comes to: only the contracts can tell what that is.
    #[must_use]
    pub fn is_hooked(&self) -> bool {
        self.hooks.is_some_and(|hook| bits(&hook) & OF_SWAPS != 0) || self.has_dynamic_fee()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_says_what_a_hook_may_do() {
        let names = |low: u16| {
            let mut bytes = [0xab; 20];
            bytes[18..].copy_from_slice(&low.to_be_bytes());
            permissions(&bytes.into()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), Vec::<&str>::new());
        assert_eq!(names(0xc000), Vec::<&str>::new(), "bits above the fourteen say nothing");
        assert_eq!(names(0x2001), ["beforeInitialize", "afterRemoveLiquidityReturnDelta"]);
        assert_eq!(names(0x00cc), ["beforeSwap", "afterSwap", "beforeSwapReturnDelta", "afterSwapReturnDelta"]);
        assert_eq!(names(0x3fff).len(), 14);
    }
}
