const JPush = require('jpush-async').JPushAsync;

const [appKey, token] = ['7d431e42dfa6a6d693ac2d04', 'demoTokenForLocalUse2026'];
const client = JPush.buildClient(appKey, token);

client.push().setPlatform(JPush.ALL)
  .setAudience(JPush.alias('anna'))
  .setNotification('Hello')
  .send()
  .then(console.log, console.error);
