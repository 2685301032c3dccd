import { readFileSync } from "node:fs";
import { loadConfig } from "../src/config/settings.ts";
import { openDatabase } from "../src/db/pool.ts";
import { createRevocations } from "../src/features/identity/sessions/revocations.ts";
import { createMemory } from "../src/memory/memory.ts";
import { createApp } from "../src/server/app.ts";
import { poolLimits } from "../src/server/server.ts";
import { createLog } from "../src/observability/log.ts";
import { createMetrics } from "../src/observability/metrics.ts";
const env={DATABASE_URL:"postgres://postgres@127.0.0.1:52732/conduit",JWT_SECRET:"the secret of the bench, which is 32 bytes or more"};
const config=loadConfig(env);
const db=openDatabase(config.databaseUrl!,poolLimits(config));
const memory=createMemory({bytesMax:128<<20,ageMaxMs:3600e3,tellOthers:async()=>{}}); memory.setServing(true);
const metrics=createMetrics("1");
const log=createLog("info",{format:"json",base:{}} as any) as any;
const app=createApp({db,memory,log,jwtSecret:env.JWT_SECRET,sessionLimits:config,revocations:createRevocations(),trustedProxies:[],mail:{isEnabled:false,newLink:()=>({})} as any,mailbox:null,requireEmailConfirmation:false,requireCurrentPassword:false,passwordBlocklist:null,corsOrigins:"*",rateLimits:null,observer:metrics});
const tokens=readFileSync("/tmp/membench/work/tokens.txt","utf8").trim().split("\n");
const slugs=readFileSync("/tmp/membench/work/slugs.txt","utf8").trim().split("\n");
const server={requestIP:()=>({address:"127.0.0.1"}),timeout(){}} as any;
const kinds:Record<string,(i:number)=>Request>={
 live:()=>new Request("http://127.0.0.1:3000/health/live"),
 list:()=>new Request("http://127.0.0.1:3000/api/articles"),
 pages:(i)=>new Request(`http://127.0.0.1:3000/api/articles?offset=${(i%50)*20}`),
 tag:()=>new Request("http://127.0.0.1:3000/api/articles?tag=tea"),
 signed:(i)=>new Request("http://127.0.0.1:3000/api/articles",{headers:{Authorization:"Token "+tokens[i%100]}}),
 article:(i)=>new Request("http://127.0.0.1:3000/api/articles/"+slugs[(i*i)%1000]),
};
const only=process.argv[2]?.split(",");
const N=3000, rounds=Number(process.argv[3]??25);
const best:Record<string,number>={};
for(let r=0;r<rounds;r++)for(const [k,f] of Object.entries(kinds)){ if(only&&!only.includes(k))continue;
  const reqs=Array.from({length:N},(_, i)=>f(i));
  if(r===0) for(let i=0;i<N;i++){const x=app.fetch(reqs[i]!,server); const y=x instanceof Promise?await x:x; if(y.status!==200)throw new Error(k+y.status)}
  const s=performance.now(); for(let i=0;i<N;i++){const x=app.fetch(reqs[i]!,server); if(x instanceof Promise)await x;} const us=(performance.now()-s)*1000/N;
  best[k]=Math.min(best[k]??1e9,us);
}
console.error(Object.entries(best).map(([k,v])=>`${k} ${v.toFixed(2)}`).join("  "), memory.state());
process.exit(0);
