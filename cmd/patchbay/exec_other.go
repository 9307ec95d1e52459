//go:build !unix

package main

import "os/exec"

// killGroup leaves cmd as it is: there are no process groups here, and the
// cancellation ends the shell alone.
func killGroup(*exec.Cmd) {}
