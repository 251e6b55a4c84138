package datapath

import "github.com/nft-offload/nft-offload/internal/reason"

// Reasons returns what the programs say of packets, in the order of enum reason in bpf/reasons.h: the index is the number.
func Reasons() []reason.Reason {
	return []reason.Reason{
		reason.Fast,

		reason.SlowNotIP,
		reason.SlowEncap,
		reason.SlowNotTCPUDP,
		reason.SlowMalformed,
		reason.SlowIPOptions,
		reason.SlowExtHeader,
		reason.SlowFragment,
		reason.SlowTTL,
		reason.SlowIPChecksum,
		reason.SlowTCPFlags,
		reason.SlowUDPNoChecksum,
		reason.SlowPartialChecksum,
		reason.SlowPadding,

		reason.EntryMiss,
		reason.EntryNotReady,
		reason.EntryDead,
		reason.EntryOtherHook,
		reason.EntryMAC,
		reason.EntryDSCP,
		reason.EntryTooLong,
		reason.EntryRenewal,
		reason.EntryExpired,
		reason.EntryGeneration,
		reason.EntryCTGone,
		reason.EntryRecycled,

		reason.SeenLearned,
		reason.SeenRenewed,
		reason.SeenNoNote,
		reason.SeenNoteOld,
		reason.SeenAltered,
		reason.SeenCopied,
		reason.SeenRedirected,
		reason.SeenIPsec,
		reason.SeenEgressEncap,
		reason.SeenUntracked,
		reason.SeenNotAdded,
		reason.SeenCTState,
		reason.SeenHelper,
		reason.SeenZone,
		reason.SeenTupleMismatch,
		reason.SeenTCPState,
		reason.SeenNotLiberal,
		reason.SeenNoReply,
		reason.SeenOneWay,
		reason.SeenMinPackets,
		reason.SeenContradiction,
		reason.SeenTableFull,
		reason.SeenAdjacenciesFull,
		reason.SeenUnknownDevice,
		reason.SeenDeviceRefused,
		reason.SeenHeld,
		reason.SlowNoMemory,
	}
}

// reasonOf is the reason with a number of the programs, which may be of a newer version.
func reasonOf(number uint32, all []reason.Reason) reason.Reason {
	if int(number) >= len(all) {
		return reason.Unknown
	}
	return all[number]
}
