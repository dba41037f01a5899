curl http://127.0.0.1:8080/v3/push \
  -u 7d431e42dfa6a6d693ac2d04:demoTokenForLocalUse2026 \
  -d '{"platform":"all","audience":{"alias":["anna"]},"notification":{"alert":"Hello"}}'
