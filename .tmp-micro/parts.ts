import { ListQuery } from "../src/features/articles/schema.ts";
import { Hono } from "hono";
function t(name:string,f:()=>void,n=20000){for(let i=0;i<n;i++)f();let b=1e9;for(let r=0;r<10;r++){const s=performance.now();for(let i=0;i<n;i++)f();b=Math.min(b,(performance.now()-s)*1000/n)}console.log(name,b.toFixed(3),"us")}
t("zod {}",()=>ListQuery.safeParse({}));
t("zod offset",()=>ListQuery.safeParse({offset:"20"}));
t("zod tag",()=>ListQuery.safeParse({tag:"tea"}));
const p=ListQuery.parse({offset:"20"});
t("key",()=>JSON.stringify([p.limit,p.offset,p.cursor,p.tag,p.author,p.favorited]));
t("URL",()=>{const { pathname, searchParams } = new URL("http://127.0.0.1:3000/api/articles?offset=20", "http://localhost");searchParams.delete("offset");searchParams.set("cursor","abcdefghijklmnop");return `${pathname}?${searchParams}`});
const text="x".repeat(12800);
t("byteLength",()=>Buffer.byteLength(text));
t("Headers5",()=>{const h=new Headers();h.set("A","b");h.set("B","b");h.set("C","b");h.set("D","c");h.set("E","f")});
t("Headers obj",()=>{new Headers({A:"b",B:"b",C:"b",D:"b",E:"b"})});
t("Response obj",()=>{new Response(text,{headers:{A:"b",B:"b",C:"b",D:"b",E:"b"}})});
t("Response obj12",()=>{new Response(text,{headers:{A:"b",B:"b",C:"b",D:"b",E:"b",F:"b",G:"b",H:"b",I:"b",J:"b",K:"b",L:"b"}})});
