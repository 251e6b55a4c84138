// Package link reads what the kernel knows about network devices and watches what changes about them: rtnetlink,
// the netdev and ethtool interfaces, and the programs and qdiscs that sit on a device.
//
// Devices answers, per device, which hooks the datapath may use there and why not (Device.XDPCapable, XDPTarget).
// Watch tells when something that the datapath replays may no longer be so: links, addresses, routes, rules,
// neighbours, bridge forwarding entries, qdiscs. Nothing here computes a route: there is no FIB and no path finding.
//
// It attaches nothing and changes nothing, SetFeature excepted.
package link
