// Reads lines "CONTENT-TYPE BODY" and writes "OK NAME:CONTENT …" or "REFUSED", all in hexadecimal digits.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"strings"
)

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		contentType, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Println(read(bytesOf(contentType), bytesOf(body)))
	}
}

func bytesOf(digits string) []byte {
	bytes, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return bytes
}

func read(contentType, body []byte) string {
	kind, parameters, err := mime.ParseMediaType(string(contentType))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || parameters["boundary"] == "" {
		return "REFUSED"
	}
	parts := "OK"
	reader := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return parts
		} else if err != nil {
			return "REFUSED"
		}
		// Without a closing boundary the last part ends with the body.
		content, err := io.ReadAll(part)
		if err != nil && err != io.ErrUnexpectedEOF {
			return "REFUSED"
		}
		parts += " " + hex.EncodeToString([]byte(part.FormName())) + ":" + hex.EncodeToString(content)
		if err != nil {
			return parts
		}
	}
}
