/**
 * `enum macvlan_mode` of `<linux/if_link.h>`: names untouched. Held against the header by a test.
 */

export const MACVLAN_MODE_PRIVATE = 1;
export const MACVLAN_MODE_VEPA = 2;
export const MACVLAN_MODE_BRIDGE = 4;
export const MACVLAN_MODE_PASSTHRU = 8;
