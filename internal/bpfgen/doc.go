// Package bpfgen makes an eBPF program of a share: of what a ruleset's ingress chains do early on a device. It is pure: the
// instructions are values, and package datapath loads them.
package bpfgen
