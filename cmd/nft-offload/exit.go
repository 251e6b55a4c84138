package main

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/tc"
)

// exitCode is how the program ends.
type exitCode int

// The exit codes. docs/exit-codes.md is made from exitCodes.
const (
	exitOK exitCode = iota
	exitFailure
	exitUsage
	exitPermission
	exitUnsupported
	exitNoDaemon
	exitRunning
	exitRuleset
	exitDevice
	exitNotConfirmed
	exitPending
	exitNothingPending
	exitDegraded
)

// exitInfo explains a code.
type exitInfo struct {
	Code exitCode `json:"code"`
	Name string   `json:"name"`
	Text string   `json:"meaning"`
}

func exitCodes() []exitInfo {
	return []exitInfo{
		{exitOK, "ok", "the command did what it says"},
		{exitFailure, "failure", "something went wrong that has no code of its own"},
		{exitUsage, "usage", "unknown command or flag, missing or malformed argument; nothing was changed"},
		{exitPermission, "permission", "root is needed (CAP_NET_ADMIN, CAP_BPF); nothing was changed"},
		{exitUnsupported, "unsupported", "the machine lacks something: kernel BTF, a bpf file system, nft(8); `doctor`: it cannot carry flows"},
		{exitNoDaemon, "no-daemon", "no `nft-offload run` in this network namespace"},
		{exitRunning, "running", "another `nft-offload run` holds this network namespace"},
		{exitRuleset, "ruleset", "the ruleset was refused, by nft or because it cannot be lowered; the live ruleset is as it was"},
		{exitDevice, "device", "a device named on the command line does not exist or cannot be used as asked"},
		{exitNotConfirmed, "not-confirmed", "nobody confirmed a `load --confirm` in time, or somebody rolled it back: the previous ruleset is there again"},
		{exitPending, "pending", "a `load --confirm` waits for `confirm` or `rollback`, or could not be rolled back whole; nothing was changed"},
		{exitNothingPending, "nothing-pending", "no load waits to be confirmed or rolled back"},
		{exitDegraded, "degraded", "`doctor`: flows can be carried, and something is in the way of more"},
	}
}

// codedError carries the exit code beside the cause.
type codedError struct {
	code exitCode
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func withCode(code exitCode, err error) error { return &codedError{code, err} }

// codeOf finds the exit code of an error.
func codeOf(err error) exitCode {
	var (
		coded       *codedError
		device      *engine.DeviceError
		noDevice    *nft.DeviceError
		refused     *nft.Error
		source      *nft.SourceError
		unsupported *nft.UnsupportedError
		mark        *nft.MarkError
		unsaved     *nft.UnsavedError
		path        *fs.PathError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, nft.ErrPermission), errors.Is(err, os.ErrPermission):
		return exitPermission
	case errors.Is(err, nft.ErrNotInstalled), errors.Is(err, tc.ErrNotInstalled), errors.Is(err, datapath.ErrNoBTF), errors.Is(err, datapath.ErrNoBPFFS):
		return exitUnsupported
	case errors.Is(err, api.ErrNoDaemon):
		return exitNoDaemon
	case errors.As(err, &device), errors.As(err, &noDevice):
		return exitDevice
	case errors.As(err, &refused), errors.As(err, &source), errors.As(err, &unsupported), errors.As(err, &mark), errors.As(err, &unsaved):
		return exitRuleset
	case errors.As(err, &path) && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EISDIR)):
		return exitUsage // a file that the user named
	}
	return exitFailure
}
