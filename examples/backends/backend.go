// Publishes, lists the channel, closes a user's connections: LHTTP_ADMIN=http://127.0.0.1:9091 go run backend.go room anna
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
)

func call(method, path string, body any) string {
	data, _ := json.Marshal(body)
	request, err := http.NewRequest(method, os.Getenv("LHTTP_ADMIN")+path, bytes.NewReader(data))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("LHTTP_ADMIN_KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if data, err = io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		log.Fatal(response.Status, " ", string(data), err)
	}
	return string(data)
}

func main() {
	channel, user := os.Args[1], os.Args[2]
	fmt.Print(call("POST", "/api/publish", map[string]any{"channels": []string{channel}, "body": "hello"}))
	fmt.Print(call("GET", "/api/channels?match="+url.QueryEscape(channel), nil))
	fmt.Print(call("POST", "/api/disconnect", map[string]any{"user": user, "reason": "bye"}))
}
